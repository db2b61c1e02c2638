//! A running service: the real binary as a process, its log, its end.

pub mod binaries;
pub mod command;
pub mod launch;
pub mod logs;
pub mod ports;
pub mod signal;

use std::{
    process::{Child, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use self::logs::{LogLine, Logs};
use crate::{
    http,
    wait::{self, eventually},
};

/// How long an admin listener may take to answer.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A service that was started by a test; it is killed when this value is dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Mutex<Child>,
    pid: u32,
    logs: Logs,
    admin_url: String,
    http_url: Option<String>,
}

impl Process {
    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where members ask, of an `issuer-api`.
    pub fn http_url(&self) -> Result<&str> {
        self.http_url.as_deref().with_context(|| format!("{} has no public listener", self.name))
    }

    /// Returns the HTTP status of a path of the admin listener, such as `/readyz`; `None` if nothing listens.
    pub async fn admin_status(&self, path: &str) -> Option<u16> {
        let url = format!("{}{path}", self.admin_url);
        Some(http::client(ADMIN_TIMEOUT).ok()?.get(url).send().await.ok()?.status().as_u16())
    }

    /// Returns the page of `/metrics`.
    pub async fn metrics(&self) -> Result<String> {
        self.admin_page("/metrics").await
    }

    /// Returns the page of a path of the admin listener, whatever its status.
    pub async fn admin_page(&self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.admin_url);
        Ok(http::client(ADMIN_TIMEOUT)?.get(url).send().await?.text().await?)
    }

    /// The sum of all samples of a metric, or of those whose labels contain this text; none if there is no sample.
    pub async fn metric(&self, name: &str, label: &str) -> Result<Option<f64>> {
        let page = self.metrics().await?;
        let samples = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let labels = series.strip_prefix(name)?;
            let is_of_it = labels.is_empty() || labels.starts_with('{');
            if is_of_it && labels.contains(label) { value.parse::<f64>().ok() } else { None }
        });
        let samples: Vec<f64> = samples.collect();
        Ok((!samples.is_empty()).then(|| samples.iter().sum()))
    }

    /// Returns all log lines so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.logs.lines()
    }

    /// Whether a log line contains this text.
    pub fn log_contains(&self, text: &str) -> bool {
        self.log().iter().any(|line| line.text.contains(text))
    }

    /// Waits for the first log line for which this holds.
    pub async fn wait_for_log(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&LogLine) -> bool,
    ) -> Result<LogLine> {
        let found = eventually(what, within, async || self.log().into_iter().find(|line| wanted(line))).await;
        found.with_context(|| self.last_lines())
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.ended().is_none()
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&self, within: Duration) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.exit(within).await
    }

    /// Waits until the process has ended by itself.
    pub async fn exit(&self, within: Duration) -> Result<ExitStatus> {
        let what = format!("{} ends", self.name);
        let ended = eventually(&what, within, async || -> Result<_> { Ok(self.child().try_wait()?) }).await;
        ended.with_context(|| self.last_lines())
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    pub fn kill(&self) {
        let mut child = self.child();
        child.kill().ok();
        child.wait().ok();
    }

    /// Freezes the process (SIGSTOP).
    pub fn stop(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Continues the frozen process (SIGCONT).
    pub fn cont(&self) -> Result<()> {
        self.signal("CONT")
    }

    /// Lets it read its files again (SIGHUP).
    pub fn hang_up(&self) -> Result<()> {
        self.signal("HUP")
    }

    /// Whoever has ended and was waited for has given its number back, perhaps to another program by now.
    fn signal(&self, name: &str) -> Result<()> {
        let mut child = self.child();
        ensure!(child.try_wait()?.is_none(), "{} has ended", self.name);
        signal::send(name, self.pid)
    }

    /// Exit status, if it has ended.
    fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    fn last_lines(&self) -> String {
        format!("the last log lines of {} (pid {}):{}", self.name, self.pid, self.logs.tail(15))
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.last_lines());
        }
        self.child().kill().ok();
        wait::eventually_blocking(Duration::from_secs(5), || self.ended().is_some());
    }
}
