//! Starting a service: its settings, its ports, its readiness.

use std::{
    fmt::Display,
    fs::File,
    future::{Future, IntoFuture},
    path::{Path, PathBuf},
    pin::Pin,
    process::{Command, Stdio},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{Process, binaries, logs::Logs, ports};
use crate::{proxy::Proxy, wait::eventually};

/// Longest time until a service must be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Tries with other ports, when another process has taken one in between.
const PORT_ATTEMPTS: usize = 5;

/// A service about to start; awaiting it starts it and waits until it is ready.
#[derive(Debug)]
#[must_use = "a service starts when its launch is awaited"]
pub struct Launch {
    binary: &'static str,
    build: Option<PathBuf>,
    verb: &'static str,
    log_file: PathBuf,
    sets: Vec<(String, String)>,
    env: Vec<(String, String)>,
    await_ready: bool,
}

impl Launch {
    /// With no settings and no environment of its own yet; the log is copied to the end of this file.
    pub(crate) fn new(binary: &'static str, verb: &'static str, log_file: PathBuf) -> Self {
        Self { binary, build: None, verb, log_file, sets: Vec::new(), env: Vec::new(), await_ready: true }
    }

    /// An `issuer-api mock`, which needs no world; its log goes into this folder.
    pub fn mock(folder: &Path) -> Self {
        Self::new("issuer-api", "mock", folder.join("mock.log"))
    }

    /// The binary in this folder instead of that of this build.
    pub fn of_build(mut self, folder: PathBuf) -> Self {
        self.build = Some(folder);
        self
    }

    /// `--set key=value`; the last one of a key counts.
    pub fn set(mut self, key: &str, value: impl Display) -> Self {
        self.sets.push((key.to_owned(), value.to_string()));
        self
    }

    /// An environment variable; the last one of a name counts.
    pub fn env(mut self, name: &str, value: impl Display) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Reaches Redis through this proxy only.
    pub fn redis_through(self, proxy: &Proxy) -> Self {
        let url = proxy.url().to_owned();
        self.env("REDIS_URL", url)
    }

    /// Reaches PostgreSQL through this proxy only.
    pub fn database_through(self, proxy: &Proxy) -> Self {
        let url = proxy.url().to_owned();
        self.env("DATABASE_URL", url)
    }

    /// Reaches Kafka through this proxy only; the broker must name it, see
    /// [`PrivateServers`](crate::servers::private::PrivateServers).
    pub fn kafka_through(self, proxy: &Proxy) -> Self {
        let address = proxy.address();
        self.env("KAFKA_BROKERS", address)
    }

    /// Does not wait for readiness: for services that must refuse to start or that start into an outage.
    pub fn without_waiting(mut self) -> Self {
        self.await_ready = false;
        self
    }

    async fn start(self) -> Result<Process> {
        for _ in 1..PORT_ATTEMPTS {
            let process = self.spawn()?;
            if !self.await_ready {
                return Ok(process);
            }
            match self.ready(&process).await {
                Ok(()) => return Ok(process),
                Err(_) if process.ended().is_some() && process.log_contains("in use") => {}
                Err(error) => return Err(error.context(process.last_lines())),
            }
        }
        bail!("{}: the ports were taken {PORT_ATTEMPTS} times", self.binary)
    }

    /// Starts it at once and waits for nothing, not even for its ports.
    pub fn spawn(&self) -> Result<Process> {
        let admin = format!("127.0.0.1:{}", ports::free()?);
        let http = (self.binary == "issuer-api").then(ports::free).transpose()?.map(|port| format!("127.0.0.1:{port}"));
        let mut command = Command::new(match &self.build {
            Some(folder) => folder.join(self.binary),
            None => binaries::find(self.binary)?,
        });
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let mut sets = vec![("admin.listen".to_owned(), admin.clone())];
        sets.extend(http.iter().map(|http| ("http.listen".to_owned(), http.clone())));
        for (key, value) in sets.iter().chain(&self.sets) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.arg(self.verb).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} does not start", self.binary))?;
        let logs = Logs::default();
        let copy = || File::options().create(true).append(true).open(&self.log_file);
        logs.capture(child.stdout.take().context("stdout is piped")?, copy()?);
        logs.capture(child.stderr.take().context("stderr is piped")?, copy()?);
        Ok(Process {
            name: self.binary,
            pid: child.id(),
            child: Mutex::new(child),
            logs,
            admin_url: format!("http://{admin}"),
            http_url: http.map(|http| format!("http://{http}")),
        })
    }

    async fn ready(&self, process: &Process) -> Result<()> {
        let what = format!("{} is ready or has ended", self.binary);
        let status = eventually(&what, READY_WITHIN, async || match process.ended() {
            Some(status) => Some(Some(status)),
            None => (process.admin_status("/readyz").await == Some(200)).then_some(None),
        });
        match status.await? {
            None => Ok(()),
            Some(status) => bail!("{} ended before it was ready: {status}", self.binary),
        }
    }
}

impl IntoFuture for Launch {
    type Output = Result<Process>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Process>>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.start())
    }
}
