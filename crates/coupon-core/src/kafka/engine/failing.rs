//! What follows from a failure: wait, give up, or hold everything until the dependency is back.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Company, Engine, Entry, GivingUp, Handler, Key, Look, Stage};
use crate::{
    failure::{Class, Failure},
    kafka::Record,
    retry::Backoff,
};

impl<H: Handler> Engine<H> {
    pub(super) fn attempt_failed(&mut self, key: Key, failure: Failure) {
        let (max, policy, now) = (self.policy.schedule.max_attempts(), self.policy, self.clock.now());
        let Some(entry) = self.lanes.get_mut(key) else { return };
        if failure.class == Class::Unavailable {
            entry.strikes.add(Instant::now());
            self.wait(key);
            return self.trip(Stage::Attempt, &failure);
        }
        entry.company = entry.company.max(Company::after(&failure));
        if failure.class == Class::Interrupted {
            self.timers.insert(key, Duration::from_secs(1));
            return;
        }
        // Where giving up is a verdict, contention is none: it waits on at the last step and charges nothing.
        let contended = failure.class == Class::Contended && !policy.contended_is_final;
        entry.attempts += u32::from(!contended);
        entry.first_failed_at.get_or_insert(now);
        let waits = match failure.class {
            Class::Permanent | Class::Malformed => None,
            Class::Contended if contended => policy.schedule.wait_after(max - 1),
            _ => policy.schedule.wait_after(entry.attempts),
        };
        let (attempt, request_id) = (entry.attempts, entry.work.request_id());
        let Record { partition, offset, .. } = entry.work.record;
        let wait_ms = waits.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        tracing::warn!(
            request_id, attempt, max_attempts = max, wait_ms, class = %failure.class, code = failure.code, partition, offset,
            "attempt failed: {failure}"
        );
        match waits {
            Some(wait) => {
                self.timers.insert(key, wait);
            }
            None => {
                entry.giving_up = Some(GivingUp::because(failure));
                self.start(key);
            }
        }
    }

    /// The record stays outstanding and is given up again later; no verdict has been reached and none is lost.
    pub(super) fn give_up_failed(&mut self, key: Key, failure: &Failure) {
        let Some(Entry { giving_up: Some(giving_up), work, strikes, .. }) = self.lanes.get_mut(key) else { return };
        metrics::counter!("coupon_give_ups_failed_total", "class" => failure.class.as_str()).increment(1);
        if failure.class == Class::Unavailable {
            strikes.add(Instant::now());
            self.wait(key);
            return self.trip(Stage::GiveUp, failure);
        }
        // Contention, and what only this process did, say nothing about the record.
        giving_up.refusals += u32::from(failure.class.may_lie_in_one_record());
        let wait = giving_up.backoff.next_wait();
        tracing::warn!(
            request_id = work.request_id(), class = %failure.class, code = failure.code,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "could not be given up yet: {failure}"
        );
        self.timers.insert(key, wait);
    }

    /// Lets a record wait for what its stage needs. Giving up is a verdict on what the dependency was like before the wait:
    /// where a probe tells its end, the record begins again with an attempt.
    pub(super) fn wait(&mut self, key: Key) {
        let Some(entry) = self.lanes.get_mut(key) else { return };
        let stage = entry.stage();
        if stage == Stage::GiveUp && self.needs.can_be_probed(stage) && entry.work.item.is_ok() {
            entry.giving_up = None;
        }
        self.needs.of(stage).wait(key);
    }

    fn trip(&mut self, stage: Stage, failure: &Failure) {
        let need = self.needs.of(stage);
        if let Some(wait) = need.trip(&failure.message) {
            let dependency = need.name;
            tracing::warn!(dependency, class = %failure.class, code = failure.code, "dependency unavailable, {dependency} is waited for: {failure}");
            metrics::gauge!("coupon_breaker_open", "dependency" => dependency).set(1);
            self.look_after(stage, wait);
        }
    }

    fn look_after(&self, stage: Stage, wait: Duration) {
        let (handler, sender) = (Arc::clone(&self.handler), self.looks.0.clone());
        let can_be_probed = self.needs.can_be_probed(stage);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let answer = if can_be_probed { Some(probe(&handler).await) } else { None };
            // The engine is gone only at shutdown.
            let _ = sender.send((stage, answer));
        });
    }

    /// A probe has answered, or it is time to try with one of the records that wait.
    pub(super) fn look(&mut self, (stage, answer): Look) {
        match answer {
            Some(is_back) => self.looked_for(stage, is_back),
            None => match self.needs.of(stage).next_trial() {
                Some(key) => self.start(key),
                // Nobody waits any more; the next one will tell.
                None => self.looked_for(stage, true),
            },
        }
    }

    pub(super) fn looked_for(&mut self, stage: Stage, is_back: bool) {
        let need = self.needs.of(stage);
        let dependency = need.name;
        match need.looked_for(is_back) {
            Err(wait) => self.look_after(stage, wait),
            Ok(waiting) => {
                tracing::info!(
                    dependency,
                    records = waiting.len(),
                    "dependency available again, work goes on: {dependency}"
                );
                metrics::gauge!("coupon_breaker_open", "dependency" => dependency).set(0);
                for key in waiting {
                    self.start(key);
                }
                self.start_next_alone();
            }
        }
    }
}

/// Whether a probe succeeds; one that panics does not, and the next one is still due.
pub(super) async fn probe<H: Handler>(handler: &Arc<H>) -> bool {
    let handler = Arc::clone(handler);
    matches!(tokio::spawn(async move { handler.probe().await }).await, Ok(Ok(())))
}

impl<I> Entry<I> {
    /// What is next to be done with it.
    pub(super) fn stage(&self) -> Stage {
        if self.giving_up.is_some() { Stage::GiveUp } else { Stage::Attempt }
    }
}

impl Company {
    /// What one failure gives reason for.
    fn after(failure: &Failure) -> Self {
        match failure.class {
            // Alone it will show whose doing a panic was, too.
            _ if failure.by_itself => Self::Nobody,
            Class::Unknown => Self::Suspects,
            _ => Self::Anybody,
        }
    }
}

impl GivingUp {
    /// Tried again after 0.5 s, 1 s, 2 s, then 4 s, each with jitter.
    pub(super) fn because(failure: Failure) -> Self {
        Self { failure, backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(4)), refusals: 0 }
    }
}
