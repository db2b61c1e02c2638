//! The workers of the jobs that operators asked for: replays, and all others. Every replica has some; a job has one at a time.

use std::{process, sync::Arc, time::Duration};

use coupon_core::runtime::{Shutdown, Tasks, chain};
use coupon_operations::{Operations, OperationsError, jobs};
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time::timeout};

/// Time between two looks for jobs that others have made: with the signs of life less than one statement a second. What this
/// process has made is looked for at once.
const LOOK_PERIOD: Duration = Duration::from_millis(1_300);
/// Time between two signs of life of a replica that works on jobs.
const SIGN_PERIOD: Duration = Duration::from_secs(5);

/// `[jobs]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobSettings {
    /// Replays that this replica works on at a time, and other jobs; 0: none.
    pub workers: u32,
}

/// What a worker works on.
#[derive(Clone, Copy)]
enum Kind {
    Replays,
    Jobs,
}

/// Wakes the workers of each kind.
#[derive(Default)]
struct Wakeups {
    replays: Notify,
    jobs: Notify,
}

impl Wakeups {
    fn of(&self, kind: Kind) -> &Notify {
        match kind {
            Kind::Replays => &self.replays,
            Kind::Jobs => &self.jobs,
        }
    }
}

/// Starts the workers. When the stop begins they let their jobs go, so that other replicas take them at once.
pub fn start(operations: &Operations, settings: &JobSettings, tasks: &Tasks, stop: &Shutdown) {
    if settings.workers == 0 {
        return;
    }
    let (name, wakeups) = (name(), Arc::<Wakeups>::default());
    for _ in 0..settings.workers {
        for (task, kind) in [("replays", Kind::Replays), ("jobs", Kind::Jobs)] {
            let wakeups = Arc::clone(&wakeups);
            tasks.spawn(task, work(operations.clone(), name.clone(), kind, wakeups, stop.clone()));
        }
    }
    tasks.spawn_until_stop("jobs watch", watch(operations.clone(), wakeups));
    let operations = operations.clone();
    tasks.every("job workers", SIGN_PERIOD, move || {
        let (operations, name) = (operations.clone(), name.clone());
        async move {
            if let Err(error) = operations.note_worker(&name).await {
                tracing::debug!("nobody can be told that this replica works on jobs: {}", chain(&error));
            }
        }
    });
}

/// Looks for jobs in the stead of all workers, and wakes one of the kind for which something waits.
async fn watch(operations: Operations, wakeups: Arc<Wakeups>) {
    loop {
        match operations.database.jobs().waiting().await {
            Ok(waiting) => {
                for (kind, waits) in [(Kind::Replays, waiting.replays), (Kind::Jobs, waiting.jobs)] {
                    if waits {
                        wakeups.of(kind).notify_one();
                    }
                }
            }
            Err(error) => tracing::debug!("jobs cannot be looked for now: {}", chain(&error)),
        }
        // Either way it is time to look.
        let _ = timeout(LOOK_PERIOD, jobs::made_here()).await;
    }
}

async fn work(operations: Operations, name: String, kind: Kind, wakeups: Arc<Wakeups>, stop: Shutdown) {
    tokio::select! {
        biased;
        () = stop.stopping() => {
            // Without it another replica waits until this one has been silent for some seconds.
            if let Err(error) = operations.stop_working(&name).await {
                tracing::debug!("jobs cannot be let go: {}", chain(&error));
            }
        }
        () = work_when_woken(&operations, &name, kind, wakeups.of(kind)) => {}
    }
}

async fn work_when_woken(operations: &Operations, name: &str, kind: Kind, wakeup: &Notify) {
    loop {
        wakeup.notified().await;
        loop {
            let worked: Result<bool, OperationsError> = match kind {
                Kind::Replays => operations.work_on_replay(name).await,
                Kind::Jobs => operations.work_on_job(name).await,
            };
            match worked {
                // Perhaps the next one waits already.
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!("jobs cannot be worked on now: {}", chain(&error));
                    break;
                }
            }
        }
    }
}

/// The name of this process among all replicas: its host, and its number there.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", host.trim(), process::id())
}
