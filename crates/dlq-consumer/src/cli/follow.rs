//! Jobs of the services, followed from a terminal. Whoever closes the terminal ends nothing.

use std::time::Duration;

use anyhow::bail;
use coupon_core::{
    repo::{
        jobs::ServiceJobStatus,
        replay_jobs::{Job, JobStatus},
    },
    runtime::{Escaped, chain},
};
use coupon_operations::{
    Operations, OperationsError,
    jobs::{JobRef, ServiceJob},
    plans::Change,
};
use tokio::time::sleep;

/// Time between two looks at a job.
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Time between two looks while a server is away.
const OUTAGE_PERIOD: Duration = Duration::from_secs(2);
/// Silence of a job's worker that is worth a line, in seconds.
const SILENT_SECONDS: i64 = 15;

/// Follows a replay until it rests, and returns it as it is then.
pub(super) async fn replay(operations: &Operations, job: i64, progress: &dyn Fn(&Job)) -> anyhow::Result<Job> {
    let mut is_silent = false;
    loop {
        let Some(now) = looked(operations.job(job).await)? else {
            sleep(OUTAGE_PERIOD).await;
            continue;
        };
        progress(&now);
        if now.status != JobStatus::Running {
            return Ok(now);
        }
        say_silent(now.idle_seconds, &mut is_silent);
        sleep(LOOK_PERIOD).await;
    }
}

/// Starts a change as a job of the services and follows it until it has ended. A job that was cancelled is an error.
pub(super) async fn change(
    operations: &Operations,
    change: Change,
    reason: &str,
    wait: Option<Duration>,
    progress: &dyn Fn(&ServiceJob),
) -> anyhow::Result<ServiceJob> {
    let job = match operations.start(change, reason, wait).await? {
        JobRef::Job(job) => job,
        JobRef::Replay(job) => bail!("it became replay {job}; `dlq-consumer replay status {job}` shows it"),
    };
    eprintln!("a service does it, as job {job}; whoever closes this terminal ends nothing");
    let mut is_silent = false;
    loop {
        let found = operations.service_job(job).await.map_err(OperationsError::from);
        let Some(now) = looked(found)? else {
            sleep(OUTAGE_PERIOD).await;
            continue;
        };
        let Some(now) = now else { bail!("there is no job {job} any more") };
        progress(&now);
        match now.status {
            ServiceJobStatus::Running => {}
            ServiceJobStatus::Cancelled => bail!("job {job} was cancelled: {}", Escaped(&now.note)),
            ServiceJobStatus::Done | ServiceJobStatus::Failed => return Ok(now),
        }
        say_silent(now.idle_seconds, &mut is_silent);
        sleep(LOOK_PERIOD).await;
    }
}

/// Returns what was read; `None` while a server is away, which ends no job.
fn looked<T>(found: Result<T, OperationsError>) -> anyhow::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_outage() => {
            eprintln!("the job cannot be seen now, and goes on: {}", chain(&error));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Prints once that nobody works on a job.
fn say_silent(idle_seconds: Option<i64>, is_said: &mut bool) {
    let idle = idle_seconds.unwrap_or(0);
    if idle < SILENT_SECONDS {
        *is_said = false;
    } else if !*is_said {
        eprintln!("nobody has worked on it for {idle} s; the next dlq-consumer that runs goes on with it");
        *is_said = true;
    }
}
