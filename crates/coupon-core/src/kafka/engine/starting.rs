//! Which stage of a record begins when: at once, when what it needs is back, or when it is its turn alone.

use std::sync::Arc;

use super::{End, Engine, GivingUp, Handler, History, Key, Stage, Work};
use crate::{
    crash::{self, Moment},
    failure::{Class, Failure},
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
        let (work, handler) = (Arc::clone(&entry.work), Arc::clone(&self.handler));
        let task = match entry.giving_up.clone() {
            Some(GivingUp { failure, refusals, .. }) => {
                let first_failed_at = entry.first_failed_at.unwrap_or_else(|| self.clock.now());
                let history = History { attempts: entry.attempts, first_failed_at, refusals };
                self.tasks
                    .spawn(async move { tried(&*handler, handler.give_up(&work, &failure, history), isolated).await })
            }
            None => {
                let alone = isolated || entry.guilty;
                self.tasks.spawn(async move { tried(&*handler, attempt(&*handler, &work, alone), isolated).await })
            }
        };
        self.running.insert(task.id(), (key, stage));
    }

    /// The next of the records that run one at a time, if none does.
    pub(super) fn start_next_alone(&mut self) {
        while self.alone.1.is_none() {
            let Some(next) = self.alone.0.pop_front() else { return };
            self.start(next);
        }
    }
}

/// One attempt.
async fn attempt<H: Handler>(handler: &H, work: &Work<H::Item>, alone: bool) -> End {
    let item = work.item.as_ref().map_err(Clone::clone)?;
    crash::pass("attempt", Moment::Before);
    handler.attempt(work, item, alone).await
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
