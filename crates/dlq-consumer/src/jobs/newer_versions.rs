//! The job that decides letters which were held because a newer build had written their events, and which this build can read.

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
    writing::{Writer, decision_against},
};

use crate::repair::decide_against;

/// Letters read in one statement.
const PAGE_LETTERS: i64 = 500;
/// Between two runs.
const DECISION_PERIOD: Duration = Duration::from_mins(1);

/// Decides held letters whose version this build reads.
pub struct NewerVersions {
    /// Where the held letters are.
    pub database: Database,
    /// Writes the events, in batches.
    pub writer: Writer,
    /// Time of the decisions.
    pub clock: Arc<dyn Clock>,
    /// Newest version of the event that can be read, [`coupon_core::event::VERSION`].
    pub supported: u64,
}

impl NewerVersions {
    /// Decides what can be decided, again and again: while builds of two versions run side by side, the older one goes
    /// on holding what only this one can read.
    pub async fn run(self, shutdown: Shutdown) {
        let mut warned = BTreeSet::new();
        loop {
            match self.decide_held(&mut warned).await {
                Ok(0) => {}
                Ok(decided) => tracing::info!(decided, "letters held for this upgrade are decided"),
                Err(failure) => {
                    tracing::warn!(code = failure.code, "letters held for an upgrade cannot be decided now: {failure}");
                }
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(DECISION_PERIOD) => {}
            }
        }
    }

    /// Writes each held event that can be read by now, with its own request id, and moves its letter on; one that has
    /// come too late is decided against, as it is on its way. What cannot be written stays HELD for an operator, with one
    /// warning: `warned` are the letters that had theirs. Returns the number of letters decided.
    pub async fn decide_held(&self, warned: &mut BTreeSet<i64>) -> Result<usize, Failure> {
        let (mut decided, mut after) = (0, 0);
        loop {
            let letters =
                self.database.dlq_events().held_for_newer_version(self.supported, after, PAGE_LETTERS).await?;
            let Some(last) = letters.last() else { return Ok(decided) };
            after = last.id;
            for letter in letters {
                let letter_id = letter.id;
                let payload = letter.record.payload.as_deref();
                let Ok(event) = CouponIssued::decode(payload, self.supported) else { continue };
                match self.decide(letter, &Arc::new(event)).await {
                    Ok(is_moved) => decided += usize::from(is_moved),
                    Err(failure) if matches!(failure.class, Class::Unavailable | Class::Interrupted) => {
                        return Err(failure);
                    }
                    Err(failure) if warned.insert(letter_id) => {
                        tracing::warn!(letter_id, code = failure.code, "a held letter stays held: {failure}");
                    }
                    Err(failure) => {
                        tracing::debug!(letter_id, code = failure.code, "a held letter still stays held: {failure}");
                    }
                }
            }
        }
    }

    async fn decide(&self, letter: UndecidedDlqEvent, event: &Arc<CouponIssued>) -> Result<bool, Failure> {
        let outcome = self.writer.write(event, true).await?;
        if let Some((remedy, failure)) = decision_against(outcome) {
            let give_up = Compensation {
                event: CouponIssued::clone(event),
                failure,
                record: letter.record,
                remedy,
                // As on its way: no deployment can be at fault, and a member who holds one loses nothing.
                budget: None,
                now: self.clock.now(),
                by: None,
            };
            decide_against(&self.database, give_up).await?;
            return Ok(true);
        }
        self.writer.apply_outcome(event, outcome, self.clock.now()).await?;
        let to = if outcome == IssueOutcome::CompensatedBefore {
            DlqEventStatus::Duplicate
        } else {
            DlqEventStatus::Recovered
        };
        Ok(self.database.dlq_events().set_status(letter.id, DlqEventStatus::Held, to, self.clock.now()).await?)
    }
}
