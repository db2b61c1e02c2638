//! The workers of the jobs that operators asked for: replays, and all others. Every replica has some; a job has one at a time.

use std::{process, time::Duration};

use coupon_core::runtime::{Shutdown, Tasks, chain};
use coupon_operations::{Operations, OperationsError};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

/// Time between two looks for a job.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
/// Time between two signs of life of a replica that works on jobs.
const SIGN_PERIOD: Duration = Duration::from_secs(2);

/// `[jobs]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobSettings {
    /// Replays that this replica works on at a time, and other jobs; 0: none.
    pub workers: u32,
}

/// What a worker looks for.
#[derive(Clone, Copy)]
enum Looks {
    Replays,
    Jobs,
}

/// Starts the workers. When the stop begins they let their jobs go, so that other replicas take them at once.
pub fn start(operations: &Operations, settings: &JobSettings, tasks: &Tasks, stop: &Shutdown) {
    if settings.workers == 0 {
        return;
    }
    let name = name();
    for _ in 0..settings.workers {
        for (task, looks) in [("replays", Looks::Replays), ("jobs", Looks::Jobs)] {
            tasks.spawn(task, work(operations.clone(), name.clone(), looks, stop.clone()));
        }
    }
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

async fn work(operations: Operations, name: String, looks: Looks, stop: Shutdown) {
    tokio::select! {
        biased;
        () = stop.stopping() => {
            // Without it another replica waits until this one has been silent for some seconds.
            if let Err(error) = operations.stop_working(&name).await {
                tracing::debug!("jobs cannot be let go: {}", chain(&error));
            }
        }
        () = look_for_work(&operations, &name, looks) => {}
    }
}

async fn look_for_work(operations: &Operations, name: &str, looks: Looks) {
    loop {
        let worked: Result<bool, OperationsError> = match looks {
            Looks::Replays => operations.work_on_replay(name).await,
            Looks::Jobs => operations.work_on_job(name).await,
        };
        match worked {
            // Perhaps the next one waits already.
            Ok(true) => {}
            Ok(false) => sleep(LOOK_PERIOD).await,
            Err(error) => {
                tracing::debug!("jobs cannot be worked on now: {}", chain(&error));
                sleep(LOOK_PERIOD).await;
            }
        }
    }
}

/// The name of this process among all replicas: its host, and its number there.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}/{}", host.trim(), process::id())
}
