//! What follows from a failure: back-off, the stage after the last attempt, or an open circuit breaker.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Engine, Entry, Exhausted, Handler, Isolation, Key, ProbeDue, Stage};
use crate::{
    failure::{Class, Failure},
    kafka::Record,
    retry::Backoff,
};

impl<H: Handler> Engine<H> {
    pub(super) fn attempt_failed(&mut self, key: Key, failure: Failure) {
        let (max, policy, now) = (self.policy.schedule.max_attempts(), self.policy, self.clock.now());
        let Some(entry) = self.tracker.get_mut(key) else { return };
        entry.trace_failure(&failure);
        if failure.class == Class::Unavailable {
            entry.strikes.add(Instant::now());
            self.wait(key);
            return self.trip(Stage::Attempt, &failure);
        }
        entry.isolation = entry.isolation.max(Isolation::after(&failure));
        if failure.class == Class::Interrupted {
            self.timers.insert(key, Duration::from_secs(1));
            return;
        }
        // Where the last attempt may compensate, contention charges nothing: the record waits on at the last step.
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
                entry.exhausted = Some(Exhausted::because(failure));
                self.start(key);
            }
        }
    }

    /// The record stays outstanding, and its last stage is tried again later; nothing has been decided and nothing is lost.
    pub(super) fn exhausted_failed(&mut self, key: Key, failure: &Failure) {
        let Some(Entry { exhausted: Some(exhausted), work, strikes, .. }) = self.tracker.get_mut(key) else { return };
        metrics::counter!("coupon_give_ups_failed_total", "class" => failure.class.as_str()).increment(1);
        if failure.class == Class::Unavailable {
            strikes.add(Instant::now());
            self.wait(key);
            return self.trip(Stage::Exhausted, failure);
        }
        // Contention, and what only this process did, say nothing about the record.
        exhausted.refusals += u32::from(failure.class.may_lie_in_one_record());
        let wait = exhausted.backoff.next_wait();
        tracing::warn!(
            request_id = work.request_id(), class = %failure.class, code = failure.code,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "could not be given up yet: {failure}"
        );
        self.timers.insert(key, wait);
    }

    /// Lets a record wait for the dependency of its stage. A failure of before the outage is no reason to decide after it:
    /// where a probe shows the end of the outage, the record begins again with an attempt.
    pub(super) fn wait(&mut self, key: Key) {
        let Some(entry) = self.tracker.get_mut(key) else { return };
        let stage = entry.stage();
        if stage == Stage::Exhausted && self.breakers.can_be_probed(stage) && entry.work.item.is_ok() {
            entry.exhausted = None;
        }
        self.breakers.of(stage).wait(key);
    }

    fn trip(&mut self, stage: Stage, failure: &Failure) {
        let breaker = self.breakers.of(stage);
        if let Some(wait) = breaker.trip(&failure.message) {
            let dependency = breaker.dependency;
            tracing::warn!(dependency, class = %failure.class, code = failure.code, "dependency unavailable, {dependency} is waited for: {failure}");
            self.readiness.breakers.opened(dependency, self.clock.now(), &failure.message);
            self.schedule_probe(stage, wait);
        }
    }

    fn schedule_probe(&self, stage: Stage, wait: Duration) {
        let (handler, sender) = (Arc::clone(&self.handler), self.probes.0.clone());
        let can_be_probed = self.breakers.can_be_probed(stage);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            let answer = if can_be_probed { Some(probe(&handler).await) } else { None };
            // The engine is gone only at shutdown.
            let _ = sender.send((stage, answer));
        });
    }

    /// A probe has answered, or it is time to try with one of the records that wait.
    pub(super) fn probe_due(&mut self, (stage, answer): ProbeDue) {
        match answer {
            Some(is_back) => self.probe_result(stage, is_back),
            None => match self.breakers.of(stage).next_probe() {
                Some(key) => self.start(key),
                // No record waits any more: the breaker closes, and the next record that fails opens it again.
                None => self.probe_result(stage, true),
            },
        }
    }

    pub(super) fn probe_result(&mut self, stage: Stage, is_back: bool) {
        let breaker = self.breakers.of(stage);
        let dependency = breaker.dependency;
        match breaker.probe_result(is_back) {
            Err(wait) => self.schedule_probe(stage, wait),
            Ok(waiting) => {
                tracing::info!(
                    dependency,
                    records = waiting.len(),
                    "dependency available again, work goes on: {dependency}"
                );
                self.readiness.breakers.closed(dependency);
                for key in waiting {
                    self.start(key);
                }
                self.start_next_isolated();
            }
        }
    }
}

/// Whether a probe succeeds. A probe that panics counts as failed, so that the next one is still scheduled.
pub(super) async fn probe<H: Handler>(handler: &Arc<H>) -> bool {
    let handler = Arc::clone(handler);
    matches!(tokio::spawn(async move { handler.probe().await }).await, Ok(Ok(())))
}

impl<I> Entry<I> {
    /// The stage that is next for the record.
    pub(super) fn stage(&self) -> Stage {
        if self.exhausted.is_some() { Stage::Exhausted } else { Stage::Attempt }
    }
}

impl Isolation {
    /// The least isolation that one failure asks for.
    fn after(failure: &Failure) -> Self {
        match failure.class {
            // An attempt in isolation also shows which record a panic belongs to.
            _ if failure.by_itself => Self::Isolated,
            Class::Unknown => Self::Quarantined,
            _ => Self::Shared,
        }
    }
}

impl Exhausted {
    /// Tried again after 0.5 s, 1 s, 2 s, then 4 s, each with jitter.
    pub(super) fn because(failure: Failure) -> Self {
        Self { failure, backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(4)), refusals: 0 }
    }
}
