//! Stopping softly, then hard.

use std::fmt::Display;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::text::Escaped;

/// The stop of a process, shared by all that has to end with it. A stop that has begun is never
/// withdrawn.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
}

impl Shutdown {
    /// A stop that has not begun.
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Takes SIGTERM and SIGINT over from now on, and gives the task that heeds them, also those that come before it runs:
    /// the first one begins the stop, the second one ends the process at once with code 130. Killing at any instant is
    /// safe, only slower to recover from. A service runs it under its supervisor, to the very end: without it nothing but
    /// SIGKILL would end the process.
    ///
    /// Needs a tokio runtime. `None`, and a line in the log: the signals cannot be watched, which takes an exhausted
    /// process, and keep their default, which is to end the process.
    pub fn signals(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let watched = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        match watched {
            (Ok(terminate), Ok(interrupt)) => Some(watch(self.clone(), terminate, interrupt)),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "signals cannot be watched, a stop will not be soft");
                None
            }
        }
    }

    /// Watches the signals in a task of its own, for a process that has no supervisor.
    pub fn on_signals(&self) {
        if let Some(watch) = self.signals() {
            tokio::spawn(watch);
        }
    }

    /// Begins the stop and logs why; later calls do nothing.
    pub fn begin(&self, reason: impl Display) {
        if !self.token.is_cancelled() {
            tracing::info!("stopping: {}", Escaped(reason));
            self.token.cancel();
        }
    }

    /// Whether the stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns once the stop has begun. May be dropped and called again.
    pub async fn stopping(&self) {
        self.token.cancelled().await;
    }
}

async fn watch(shutdown: Shutdown, mut terminate: Signal, mut interrupt: Signal) {
    let name = next(&mut terminate, &mut interrupt).await;
    shutdown.begin(name);
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::warn!("{name} again: exiting at once");
    std::process::exit(130)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::*;

    /// Tells the test below that it runs as the process to be stopped.
    const CHILD: &str = "RUNTIME_TEST_IS_STOPPED_BY_SIGNALS";

    #[tokio::test]
    async fn everybody_hears_of_the_stop_also_those_who_ask_late() {
        let shutdown = Shutdown::new();
        let early = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.stopping().await }
        });
        assert!(!shutdown.is_stopping());
        shutdown.begin("a test");
        shutdown.begin("a test, again");
        early.await.expect("the waiting task ends");
        shutdown.stopping().await;
        assert!(shutdown.is_stopping());
    }

    #[tokio::test]
    async fn the_first_signal_stops_softly_and_the_second_at_once() {
        if std::env::var_os(CHILD).is_some() {
            return wait_for_signals().await;
        }
        let module = module_path!().split_once("::").expect("a crate name").1;
        let name = format!("{module}::the_first_signal_stops_softly_and_the_second_at_once");
        let mut child = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", &name, "--nocapture"])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test starts again");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut saw = |what: &str| lines.any(|line| line.is_ok_and(|line| line.ends_with(what)));
        let kill = |signal: &str| {
            let id = child.id().to_string();
            Command::new("kill").args([signal, &id]).status().expect("kill runs")
        };
        assert!(saw("watching"), "the process starts");
        assert!(kill("-TERM").success());
        assert!(saw("stopping softly"), "the first signal does not end the process");
        assert!(kill("-INT").success());
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
    }

    async fn wait_for_signals() {
        let shutdown = Shutdown::new();
        shutdown.on_signals();
        println!("\nwatching");
        shutdown.stopping().await;
        println!("\nstopping softly");
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}
