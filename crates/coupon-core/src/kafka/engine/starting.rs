//! When a stage of a record begins: at once, when its dependency is back, or when it is the record's turn to run isolated.

use std::sync::Arc;

use super::{Engine, Exhausted, Handler, History, Isolation, Key, failing::probe};
use crate::{
    crash::{self, Moment},
    failure::{Class, Failure},
    kafka::handler::{Attempt, CompletionGuard, StageResult},
};

impl<H: Handler> Engine<H> {
    /// Starts the next stage of a record, unless it has to wait for the dependency of the stage or for its turn to run isolated.
    pub(super) fn start(&mut self, key: Key) {
        let Some(entry) = self.tracker.get_mut(key) else { return };
        let stage = entry.stage();
        if !self.breakers.of(stage).admits(key) {
            return self.wait(key);
        }
        let isolated = entry.strikes.isolate() && self.breakers.can_be_probed(stage);
        if isolated && !self.isolated.admits(key) {
            return;
        }
        self.running += 1;
        let (work, handler, number) = (Arc::clone(&entry.work), Arc::clone(&self.handler), entry.attempts + 1);
        let completion = |is_shared| CompletionGuard::new(key, stage, is_shared, self.completions.0.clone());
        match entry.exhausted.clone() {
            Some(Exhausted { failure, refusals, .. }) => {
                let first_failed_at = entry.first_failed_at.unwrap_or_else(|| self.clock.now());
                let history = History { attempts: entry.attempts, first_failed_at, refusals };
                let completion = completion(false);
                tokio::spawn(async move {
                    let last = handler.on_exhausted(&work, &failure, history);
                    completion.complete(charge_guilty(&handler, last, isolated).await);
                });
            }
            None if isolated || entry.isolation == Isolation::Isolated => {
                let completion = completion(false);
                let attempt = async move {
                    let item = work.item.as_ref().map_err(Clone::clone)?;
                    crash::pass("attempt", Moment::Before);
                    charge_guilty(&handler, handler.attempt(&work, item, number, true), isolated).await
                };
                tokio::spawn(async move { completion.complete(attempt.await) });
            }
            None => {
                let quarantined = entry.isolation == Isolation::Quarantined;
                self.shared_attempts.push(Attempt { work, number, quarantined, completion: completion(true) });
            }
        }
    }

    /// Begins the attempts that have come together since the last time.
    pub(super) fn start_shared_attempts(&mut self) {
        let attempts = std::mem::take(&mut self.shared_attempts);
        if attempts.is_empty() {
            return;
        }
        let handler = Arc::clone(&self.handler);
        tokio::spawn(async move {
            for _ in &attempts {
                crash::pass("attempt", Moment::Before);
            }
            handler.attempt_all(attempts).await;
        });
    }
}

/// Runs a stage, and turns an outage into a failure of the record if the record is its cause. A record that is isolated has
/// found the dependency away several times, each time after a probe had succeeded. If it finds the dependency away once more
/// and the probe right after succeeds, that is charged to the record, unless the failure cannot be its doing: then the record
/// waits, and the others go on.
async fn charge_guilty<H: Handler>(
    handler: &Arc<H>,
    stage: impl Future<Output = StageResult>,
    is_isolated: bool,
) -> StageResult {
    match stage.await {
        Err(failure) if is_isolated && failure.class == Class::Unavailable && probe(handler).await => {
            let is_guilty = H::may_be_the_records_doing(&failure);
            let class = if is_guilty { Class::Unknown } else { Class::Interrupted };
            Err(Failure { class, ..failure })
        }
        end => end,
    }
}
