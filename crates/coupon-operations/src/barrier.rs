//! The barrier of reconciliation and rebuild: everything that Kafka had acknowledged when the wait began has been decided,
//! held or parked when the wait ends. Nothing is decided by a guessed time.

use std::time::Duration;

use coupon_core::kafka::ConsumerProgress;
use tokio::time::{Instant, sleep};

use crate::{Operations, OperationsError};

/// Time between two readings of a group's consumer lag.
const LAG_POLL_PERIOD: Duration = Duration::from_millis(200);

/// The outcome of waiting for the consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// Both groups have caught up with the end offsets of the wait's beginning.
    Done,
    /// A group has not caught up in the time given.
    Lagging {
        /// The topic that the group consumes.
        topic: String,
        /// The consumer group.
        group: String,
        /// The group's consumer lag, in records.
        lag: u64,
    },
}

impl Operations {
    /// Returns an error if a right is missing to see how far the groups are in the topics: to describe both, and to read the
    /// topics. Does not wait.
    pub(crate) async fn can_see_consumers(&self) -> Result<(), OperationsError> {
        for progress in [&self.main, &self.dead_letters] {
            progress.check_rights().await?;
        }
        Ok(())
    }

    /// Waits until issue-consumer has caught up with the present end of the main topic, then until dlq-consumer has caught
    /// up with the end that the dead letter topic has then. The order matters: issue-consumer produces a dead letter before
    /// it commits the offset of the record.
    pub(crate) async fn wait_for_consumers(&self, wait: Duration) -> Result<CatchUp, OperationsError> {
        let deadline = Instant::now() + wait;
        for progress in [&self.main, &self.dead_letters] {
            let lag = wait_for(progress, deadline).await?;
            if lag > 0 {
                let (topic, group) = (progress.topic().to_owned(), progress.group().to_owned());
                return Ok(CatchUp::Lagging { topic, group, lag });
            }
        }
        Ok(CatchUp::Done)
    }
}

/// Returns the group's consumer lag against the present end offsets: 0 once it has caught up, more at the deadline.
async fn wait_for(progress: &ConsumerProgress, deadline: Instant) -> Result<u64, OperationsError> {
    let end_offsets = progress.end_offsets().await?;
    loop {
        match progress.lag(&end_offsets).await? {
            lag if lag == 0 || Instant::now() >= deadline => return Ok(lag),
            _ => sleep(LAG_POLL_PERIOD).await,
        }
    }
}

impl std::fmt::Display for CatchUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("both consumers have caught up"),
            Self::Lagging { topic, group, lag } => {
                write!(f, "{group} has {lag} records of {topic} before it: is it running?")
            }
        }
    }
}
