//! A process run to its end, with the time and the memory it used.

use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::{
    process::{Child, Command},
    time::{MissedTickBehavior, interval},
};

use super::{spread::as_f64, usage};

/// Time between two readings of the process: its end is seen late by this at most.
const POLL_PERIOD: Duration = Duration::from_millis(5);

/// Lines of its output that are shown when it ends otherwise than it should.
const SHOWN_LINES: usize = 20;

/// CPU time and memory that one process used.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// From its start to its end, at most 5 ms too much.
    pub wall_ms: f64,
    /// CPU time of all its threads, in steps of 10 ms.
    pub cpu_ms: f64,
    /// Peak resident memory. What it grew by in its last 5 ms may be missing.
    pub peak_mib: f64,
}

/// Runs a program with these arguments and nothing in its environment but the `PATH` and these variables. An exit code
/// other than 0 is an error that shows the end of what it said. Dropping the future kills the process.
pub async fn run<A, V>(program: &Path, arguments: &[A], variables: &[(&str, V)]) -> Result<Used>
where
    A: AsRef<OsStr>,
    V: AsRef<OsStr>,
{
    // Files take whatever is said without anybody reading meanwhile.
    let mut said = tempfile::tempfile()?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(variables.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?);
    let started = Instant::now();
    let mut child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
    let (cpu_ms, peak_mib) = watch(&child).await?;
    let wall_ms = started.elapsed().as_secs_f64() * 1000.0;
    let status = child.wait().await?;
    if !status.success() {
        let words: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        bail!("{} {} ended with {status}:\n{}", program.display(), words.join(" "), end_of(&mut said)?);
    }
    Ok(Used { wall_ms, cpu_ms, peak_mib })
}

/// Watches a process until it has ended. Nobody has asked yet how it ended, so its last times can still be read.
async fn watch(child: &Child) -> Result<(f64, f64)> {
    let process = usage::process(child.id().context("the process has no id")?)?;
    let mut ticks = interval(POLL_PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut peak_mib: f64 = 0.0;
    loop {
        ticks.tick().await;
        peak_mib = usage::memory_mib(&process).map_or(0.0, |(_, peak)| peak).max(peak_mib);
        let stat = process.stat()?;
        if matches!(stat.state, 'Z' | 'X') {
            return Ok((as_f64(usage::ms_of(&stat)), peak_mib));
        }
    }
}

/// The last lines of what it said. It may hold stored text, whose control characters are shown and not executed.
fn end_of(said: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    // The process has moved the position that both share.
    std::io::Seek::rewind(said)?;
    said.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let shown = |character: char| {
        if character.is_control() { character.escape_debug().to_string() } else { character.to_string() }
    };
    let end = lines[lines.len().saturating_sub(SHOWN_LINES)..].iter();
    let end: Vec<String> = end.map(|line| line.chars().map(shown).collect()).collect();
    Ok(format!("  {}\n", end.join("\n  ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<Used> {
        run(Path::new("/bin/sh"), &["-c", script], &[("WORD", "given")]).await
    }

    #[tokio::test]
    async fn time_and_memory_of_a_process_are_measured() {
        let used = shell("n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done; test \"$WORD\" = given").await.unwrap();
        assert!(used.cpu_ms > 0.0, "{used:?}");
        assert!(used.peak_mib > 0.1, "{used:?}");
        assert!(used.cpu_ms <= used.wall_ms + 20.0, "{used:?}");
    }

    #[tokio::test]
    async fn another_exit_code_is_an_error_that_shows_what_was_said_without_executing_it() {
        let error = shell("printf 'bad \\033[31m thing\\n' >&2; exit 3").await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("bad \\u{1b}[31m thing"), "{error}");
    }

    #[tokio::test]
    async fn what_is_not_there_cannot_be_started() {
        assert!(run(Path::new("/nowhere"), &["x"], &[("", "")]).await.is_err());
    }
}
