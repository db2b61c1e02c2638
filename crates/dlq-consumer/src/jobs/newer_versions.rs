//! The job that decides dead letters which an older build held, because it could not read the newer version of their events.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    event::CouponIssued,
    failure::{Class, Failure},
    repo::{
        Database,
        coupon_issues::{Compensation, IssueOutcome},
        dlq_events::{DlqEventStatus, UndecidedDlqEvent},
    },
    runtime::Shutdown,
    signing::EventReader,
    writing::{Writer, decision_against},
};
use coupon_operations::read_dead_letter;

use crate::repair::compensate;

/// Dead letters read by one statement.
const PAGE_DEAD_LETTERS: i64 = 500;
/// Time between two runs.
const DECISION_PERIOD: Duration = Duration::from_mins(1);

/// Decides held dead letters whose version this build reads.
pub struct NewerVersions {
    /// Holds the dead letters, and takes their decisions.
    pub database: Database,
    /// Writes events in batches.
    pub writer: Writer,
    /// Reads and verifies events.
    pub events: EventReader,
    /// Gives the time that decisions carry.
    pub clock: Arc<dyn Clock>,
    /// Newest version of the event that can be read, [`coupon_core::event::VERSION`].
    pub supported: u64,
}

impl NewerVersions {
    /// Decides once a minute until the shutdown begins: while builds of two versions run side by side, the older one goes on
    /// to hold what only this one can read.
    pub async fn run(self, shutdown: Shutdown) {
        let mut warned = BTreeSet::new();
        loop {
            match self.decide_held(&mut warned).await {
                Ok(0) => {}
                Ok(decided) => tracing::info!(decided, "dead letters held for this upgrade are decided"),
                Err(failure) => {
                    tracing::warn!(
                        code = failure.code,
                        "dead letters held for an upgrade cannot be decided now: {failure}"
                    );
                }
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(DECISION_PERIOD) => {}
            }
        }
    }

    /// Writes each held event that this build can read, with its own request id, and sets the status of its dead letter. A
    /// request whose epoch is over or whose member holds a coupon is compensated, as `repair` does. A dead letter that cannot
    /// be written stays HELD for an operator, with one warning: `warned` has the ids of those already warned of. Returns the
    /// number of dead letters decided.
    pub async fn decide_held(&self, warned: &mut BTreeSet<i64>) -> Result<usize, Failure> {
        let (mut decided, mut after) = (0, 0);
        loop {
            let dead_letters =
                self.database.dlq_events().held_for_newer_version(self.supported, after, PAGE_DEAD_LETTERS).await?;
            let Some(last) = dead_letters.last() else { return Ok(decided) };
            after = last.id;
            for dead_letter in dead_letters {
                let letter_id = dead_letter.id;
                let Ok(event) = read_dead_letter(&self.events, &dead_letter, self.supported) else { continue };
                match self.decide(dead_letter, &Arc::new(event)).await {
                    Ok(is_moved) => decided += usize::from(is_moved),
                    Err(failure) if matches!(failure.class, Class::Unavailable | Class::Interrupted) => {
                        return Err(failure);
                    }
                    Err(failure) if warned.insert(letter_id) => {
                        tracing::warn!(letter_id, code = failure.code, "a held dead letter stays held: {failure}");
                    }
                    Err(failure) => {
                        tracing::debug!(
                            letter_id,
                            code = failure.code,
                            "a held dead letter still stays held: {failure}"
                        );
                    }
                }
            }
        }
    }

    async fn decide(&self, dead_letter: UndecidedDlqEvent, event: &Arc<CouponIssued>) -> Result<bool, Failure> {
        let outcome = self.writer.write(event, true).await?;
        if let Some((remedy, failure)) = decision_against(outcome) {
            let compensation = Compensation {
                event: CouponIssued::clone(event),
                failure,
                record: dead_letter.record,
                remedy,
                // No deployment can be at fault, and a member who holds a coupon loses nothing.
                budget: None,
                now: self.clock.now(),
                by: None,
            };
            compensate(&self.database, compensation).await?;
            return Ok(true);
        }
        self.writer.apply_outcome(event, outcome, self.clock.now()).await?;
        let to = if outcome == IssueOutcome::CompensatedBefore {
            DlqEventStatus::Duplicate
        } else {
            DlqEventStatus::Recovered
        };
        Ok(self.database.dlq_events().set_status(dead_letter.id, DlqEventStatus::Held, to, self.clock.now()).await?)
    }
}
