//! Letters that were held because a newer build had written their events, and can be decided now.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    event::CouponIssued,
    failure::{Class, Failure},
    repo::{
        Database,
        dead_letters::LetterStatus,
        give_ups::{GiveUp, GivenUp, Remedy},
        held_letters::UndecidedLetter,
        issues::IssueOutcome,
    },
    runtime::Shutdown,
    writing::Writer,
};

use crate::{alarm, letter::against, repair::outcome_word};

/// Letters looked at in one go.
const PAGE: i64 = 500;
/// Between two looks.
const EVERY: Duration = Duration::from_mins(1);

/// Decides held letters whose version this build reads.
pub struct Upgrade {
    /// The letters.
    pub database: Database,
    /// Writes in batches.
    pub writer: Writer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Newest version of the event that can be read, [`coupon_core::event::VERSION`].
    pub supported: u64,
}

impl Upgrade {
    /// Decides what can be decided, again and again: while builds of two versions run side by side, the older one goes
    /// on holding what only this one can read.
    pub async fn run(self, shutdown: Shutdown) {
        let mut said = BTreeSet::new();
        loop {
            match self.decide_held(&mut said).await {
                Ok(0) => {}
                Ok(decided) => tracing::info!(decided, "letters held for this upgrade are decided"),
                Err(failure) => {
                    tracing::warn!(code = failure.code, "letters held for an upgrade cannot be decided now: {failure}");
                }
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Writes each held event that can be read by now, with its own request id, and moves its letter on; one that has
    /// come too late is decided against, as it is on its way. What cannot be written stays HELD for an operator, and is
    /// said once: `said` are those of which it was. Gives the number decided.
    pub async fn decide_held(&self, said: &mut BTreeSet<i64>) -> Result<usize, Failure> {
        let (mut decided, mut after) = (0, 0);
        loop {
            let letters = self.database.letters_held_for_an_upgrade(self.supported, after, PAGE).await;
            let letters = letters.map_err(|error| Failure::from(&error))?;
            let Some(last) = letters.last() else { return Ok(decided) };
            after = last.id;
            for letter in letters {
                let letter_id = letter.id;
                let payload = letter.letter.payload.as_deref();
                let Ok(event) = CouponIssued::decode(payload, self.supported) else { continue };
                match self.decide(letter, &Arc::new(event)).await {
                    Ok(is_moved) => decided += usize::from(is_moved),
                    Err(failure) if matches!(failure.class, Class::Unavailable | Class::Interrupted) => {
                        return Err(failure);
                    }
                    Err(failure) if said.insert(letter_id) => {
                        tracing::warn!(letter_id, code = failure.code, "a held letter stays held: {failure}");
                    }
                    Err(failure) => {
                        tracing::debug!(letter_id, code = failure.code, "a held letter still stays held: {failure}");
                    }
                }
            }
        }
    }

    async fn decide(&self, letter: UndecidedLetter, event: &Arc<CouponIssued>) -> Result<bool, Failure> {
        let outcome = self.writer.write(event, true).await?;
        if let Some((remedy, failure)) = against(outcome) {
            let give_up = GiveUp {
                event: CouponIssued::clone(event),
                failure: failure.clone(),
                letter: letter.letter,
                remedy,
                // As on its way: no deployment can be at fault, and a member who holds one loses nothing.
                budget: None,
                now: self.clock.now(),
                by: None,
            };
            let given_up = self.database.give_up(give_up).await.map_err(|error| Failure::from(&error))?;
            metrics::counter!("coupon_give_ups_total", "outcome" => outcome_word(given_up)).increment(1);
            if let (GivenUp::Compensated { failed_issue_id }, Remedy::GiveBack) = (given_up, remedy) {
                alarm::log_compensated(event, &failure, failed_issue_id);
            }
            return Ok(true);
        }
        self.writer.settle(event, outcome, self.clock.now()).await?;
        let to =
            if outcome == IssueOutcome::CompensatedBefore { LetterStatus::Duplicate } else { LetterStatus::Recovered };
        let moved = self.database.move_letter(letter.id, LetterStatus::Held, to, self.clock.now());
        moved.await.map_err(|error| Failure::from(&error))
    }
}
