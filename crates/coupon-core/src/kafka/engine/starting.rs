//! Which stage of a record begins when: at once, when what it needs is back, or when it is its turn alone.

use std::sync::Arc;

use super::{Company, Engine, GivingUp, Handler, History, Key, Work, failing::probe};
use crate::{
    crash::{self, Moment},
    failure::{Class, Failure},
    kafka::handler::{Attempt, End, Ending},
};

impl<H: Handler> Engine<H> {
    /// Starts the next stage of a record, unless it has to wait for what the stage needs or for its turn alone.
    pub(super) fn start(&mut self, key: Key) {
        let Some(entry) = self.lanes.get_mut(key) else { return };
        let stage = entry.stage();
        if !self.needs.of(stage).admits(key) {
            return self.wait(key);
        }
        let isolated = entry.strikes.isolate() && self.needs.can_be_probed(stage);
        if isolated && !self.alone.admits(key) {
            return;
        }
        self.running += 1;
        let (work, handler, number) = (Arc::clone(&entry.work), Arc::clone(&self.handler), entry.attempts + 1);
        let ending = |is_shared| Ending::new(key, stage, is_shared, self.ends.0.clone());
        match entry.giving_up.clone() {
            Some(GivingUp { failure, refusals, .. }) => {
                let first_failed_at = entry.first_failed_at.unwrap_or_else(|| self.clock.now());
                let history = History { attempts: entry.attempts, first_failed_at, refusals };
                let ending = ending(false);
                tokio::spawn(async move {
                    ending.tell(tried(&handler, handler.give_up(&work, &failure, history), isolated).await);
                });
            }
            None if isolated || entry.company == Company::Nobody => {
                attempt_alone(handler, (work, number), ending(false), isolated);
            }
            None => {
                let suspected = entry.company == Company::Suspects;
                self.together.push(Attempt { work, number, suspected, ending: ending(true) });
            }
        }
    }

    /// Begins the attempts that have come together since the last time.
    pub(super) fn attempt_together(&mut self) {
        let attempts = std::mem::take(&mut self.together);
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

/// One attempt that shares nothing with others.
fn attempt_alone<H: Handler>(
    handler: Arc<H>,
    (work, number): (Arc<Work<H::Item>>, u32),
    ending: Ending,
    isolated: bool,
) {
    let attempt = async move {
        let item = work.item.as_ref().map_err(Clone::clone)?;
        crash::pass("attempt", Moment::Before);
        tried(&handler, handler.attempt(&work, item, number, true), isolated).await
    };
    tokio::spawn(async move { ending.tell(attempt.await) });
}

/// A record that has found the dependency away several times, each time after a probe had found it there, and finds
/// it away once more while a probe right after finds it there, is itself what is wrong. That is charged, unless it
/// cannot be its doing: then it waits, and the others go on.
async fn tried<H: Handler>(handler: &Arc<H>, doing: impl Future<Output = End>, suspected: bool) -> End {
    match doing.await {
        Err(failure) if suspected && failure.class == Class::Unavailable && probe(handler).await => {
            let is_guilty = H::may_be_the_records_doing(&failure);
            let class = if is_guilty { Class::Unknown } else { Class::Interrupted };
            Err(Failure { class, ..failure })
        }
        end => end,
    }
}
