//! SIGHUP: files that may change while a service runs are read again at once.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Hears SIGHUP, which then ends nobody. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Reload {
    asked: watch::Sender<u64>,
}

/// What one reader of files has heard.
#[derive(Debug)]
pub struct Reloads(watch::Receiver<u64>);

impl Reload {
    /// Takes SIGHUP over from now on, and gives the task that passes each on; a service runs it to its very end.
    ///
    /// Needs a tokio runtime. `None`, and a line in the log: the signal cannot be watched, which takes an exhausted process,
    /// and keeps its default, which is to end the process.
    pub fn signals(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(pass_on(self.clone(), hangup)),
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be watched, and would end the process");
                None
            }
        }
    }

    /// Hears of every SIGHUP from now on.
    pub fn subscribe(&self) -> Reloads {
        Reloads(self.asked.subscribe())
    }
}

impl Reloads {
    /// Returns once SIGHUP has come since the last time, however often. May be dropped and called again.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody is left who could hear a signal.
            std::future::pending::<()>().await;
        }
    }
}

async fn pass_on(reload: Reload, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        tracing::info!(
            "SIGHUP: files with keys, secrets and addresses are read again; other settings are taken up by a restart"
        );
        reload.asked.send_modify(|asked| *asked += 1);
    }
}
