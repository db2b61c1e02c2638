//! One-shot commands of the real binaries: run, and read what came out.

use std::{process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use tokio::{process, time};

use super::binaries;

/// Longest time a one-shot command may take.
const WITHIN: Duration = Duration::from_mins(1);

/// A command about to run. Its environment holds what is given here and the `PATH`, nothing else.
#[derive(Debug)]
#[must_use = "a command does nothing until it is run"]
pub struct Command(process::Command);

/// Output and exit of a command.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Exit status as text.
    pub status: String,
    /// Standard output, the data of the command.
    pub stdout: String,
    /// Standard error, logs and messages.
    pub stderr: String,
}

impl Command {
    /// A command of one of the real binaries.
    pub fn new(binary: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = process::Command::new(binaries::find(binary)?);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        Ok(Self(command))
    }

    /// The same command in the environment of this program instead of an empty one.
    pub fn inherit(mut self) -> Self {
        self.0.envs(std::env::vars_os());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.env(name, value.as_ref());
        self
    }

    /// Runs the command to its end.
    pub async fn run(mut self) -> Result<Output> {
        let output = time::timeout(WITHIN, self.0.output());
        let output = output.await.with_context(|| format!("still running after {WITHIN:?}: {:?}", self.0))??;
        Ok(Output {
            code: output.status.code(),
            status: output.status.to_string(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

impl Output {
    /// The data of a command that must have succeeded.
    pub fn succeeded(self) -> Result<String> {
        ensure!(self.code == Some(0), "{}: {}{}", self.status, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}
