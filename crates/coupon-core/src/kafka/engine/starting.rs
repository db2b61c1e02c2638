//! Which stage of a record begins when: at once, when what it needs is back, or when it is its turn alone.

use std::sync::Arc;

use super::{Company, Engine, GivingUp, Handler, History, Key, Stage, Work};
use crate::{
    crash::{self, Moment},
    failure::{Class, Failure},
    kafka::handler::{Attempt, End, Ending},
};

/// Times a record may find the dependency away, each time after a probe had found it there, before it runs alone.
const STRIKES: u32 = 3;

impl<H: Handler> Engine<H> {
    /// Starts the next stage of a record, unless it has to wait for what the stage needs or for its turn alone.
    pub(super) fn start(&mut self, key: Key) {
        let Some(entry) = self.lanes.get_mut(key) else { return };
        let stage = if entry.giving_up.is_some() { Stage::GiveUp } else { Stage::Attempt };
        let need = self.needs.of(stage);
        if !need.admits(key) {
            return need.wait(key);
        }
        let isolated = entry.strikes >= STRIKES && self.needs.can_be_probed(stage);
        if isolated && self.alone.1.is_some_and(|other| other != key) {
            return self.alone.0.push_back(key);
        }
        if isolated {
            self.alone.1 = Some(key);
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
                    ending.tell(tried(&*handler, handler.give_up(&work, &failure, history), isolated).await);
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

    /// The next of the records that run one at a time, if none does.
    pub(super) fn start_next_alone(&mut self) {
        while self.alone.1.is_none() {
            let Some(next) = self.alone.0.pop_front() else { return };
            self.start(next);
        }
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
        tried(&*handler, handler.attempt(&work, item, number, true), isolated).await
    };
    tokio::spawn(async move { ending.tell(attempt.await) });
}

/// A record that has found the dependency away several times, each time after a probe had found it there, and finds
/// it away once more while a probe right after finds it there, is itself what is wrong. That is charged, unless it
/// cannot be its doing: then it waits, and the others go on.
async fn tried<H: Handler>(handler: &H, doing: impl Future<Output = End>, suspected: bool) -> End {
    match doing.await {
        Err(failure) if suspected && failure.class == Class::Unavailable && handler.probe().await.is_ok() => {
            let is_guilty = H::may_be_the_records_doing(&failure);
            let class = if is_guilty { Class::Unknown } else { Class::Interrupted };
            Err(Failure { class, ..failure })
        }
        end => end,
    }
}
