//! The barrier of reconciliation and rebuild: everything that Kafka had acknowledged when it was raised has been decided,
//! held or parked when it falls. No time is guessed.

use std::time::Duration;

use coupon_core::kafka::ConsumerProgress;
use tokio::time::{Instant, sleep};

use crate::{Operations, OperationsError};

/// Between two looks at the groups.
const LOOK: Duration = Duration::from_millis(200);

/// What became of waiting for the consumers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Both groups have passed what was there.
    Yes,
    /// Not within the time given.
    NotYet {
        /// The topic they are in.
        topic: String,
        /// The group.
        group: String,
        /// Records it has not passed.
        behind: u64,
    },
}

impl Operations {
    /// Whether topics and groups can be read at all; an error says which cannot. Waits for nobody.
    pub(crate) async fn can_see_consumers(&self) -> Result<(), OperationsError> {
        for progress in [&self.main, &self.dead_letters] {
            progress.lag(&progress.end_offsets().await?).await?;
        }
        Ok(())
    }

    /// Waits until issue-consumer has passed the end of the main topic as it is now, then until dlq-consumer has passed
    /// the end of the dead letter topic as it is then. In this order: what the first hands over lies in the second before
    /// its own offset is committed.
    pub(crate) async fn wait_for_consumers(&self, wait: Duration) -> Result<Passed, OperationsError> {
        let deadline = Instant::now() + wait;
        for progress in [&self.main, &self.dead_letters] {
            if let Some(behind) = wait_for(progress, deadline).await? {
                return Ok(Passed::NotYet {
                    topic: progress.topic().to_owned(),
                    group: progress.group().to_owned(),
                    behind,
                });
            }
        }
        Ok(Passed::Yes)
    }
}

/// `None` when the group has passed; otherwise how many records it lacks at the deadline.
async fn wait_for(progress: &ConsumerProgress, deadline: Instant) -> Result<Option<u64>, OperationsError> {
    let ends = progress.end_offsets().await?;
    loop {
        match progress.lag(&ends).await? {
            0 => return Ok(None),
            behind if Instant::now() >= deadline => return Ok(Some(behind)),
            _ => sleep(LOOK).await,
        }
    }
}

impl std::fmt::Display for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Yes => f.write_str("both consumers have passed"),
            Self::NotYet { topic, group, behind } => {
                write!(f, "{group} has {behind} records of {topic} before it: is it running?")
            }
        }
    }
}
