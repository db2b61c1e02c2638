//! What follows from a failure: wait, give up, or hold everything until the dependency is back.

use std::{sync::Arc, time::Duration};

use super::{Engine, Entry, Handler, Key, give_up_backoff};
use crate::{
    failure::{Class, Failure},
    kafka::Record,
};

impl<H: Handler> Engine<H> {
    pub(super) fn attempt_failed(&mut self, key: Key, failure: Failure) {
        let (max, policy, now) = (self.policy.schedule.max_attempts(), self.policy, self.clock.now());
        let Some(entry) = self.lanes.get_mut(key) else { return };
        metrics::counter!("coupon_attempts_failed_total", "class" => failure.class.as_str()).increment(1);
        if failure.class == Class::Unavailable {
            entry.strikes += 1;
            self.held.push(key);
            return self.trip(&failure);
        }
        if failure.class == Class::Interrupted {
            self.timers.insert(key, Duration::from_secs(1));
            return;
        }
        entry.attempts += 1;
        entry.guilty = failure.class == Class::Unknown;
        entry.first_failed_at.get_or_insert(now);
        let waits = match failure.class {
            Class::Permanent | Class::Malformed => None,
            // Where giving up is a verdict, contention waits on at the last step of the schedule.
            Class::Contended if !policy.contended_is_final => {
                entry.attempts = entry.attempts.min(max - 1);
                policy.schedule.wait_after(entry.attempts)
            }
            _ => policy.schedule.wait_after(entry.attempts),
        };
        let (attempt, request_id) = (entry.attempts, entry.work.request_id.clone());
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
                entry.giving_up = Some((failure, give_up_backoff()));
                self.start(key);
            }
        }
    }

    /// The record stays outstanding and is given up again later; no verdict has been reached and none is lost.
    pub(super) fn give_up_failed(&mut self, key: Key, failure: &Failure) {
        let Some(Entry { giving_up: Some((_, backoff)), work, .. }) = self.lanes.get_mut(key) else { return };
        let wait = backoff.next_wait();
        tracing::warn!(
            request_id = work.request_id, class = %failure.class, code = failure.code,
            wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "could not be given up yet: {failure}"
        );
        metrics::counter!("coupon_give_ups_failed_total", "class" => failure.class.as_str()).increment(1);
        self.timers.insert(key, wait);
    }

    fn trip(&mut self, failure: &Failure) {
        if let Some(wait) = self.breaker.trip() {
            tracing::warn!(class = %failure.class, code = failure.code, "dependency unavailable, consuming pauses: {failure}");
            metrics::gauge!("coupon_breaker_open").set(1);
            self.probe_after(wait);
        }
    }

    fn probe_after(&self, wait: Duration) {
        let (handler, sender) = (Arc::clone(&self.handler), self.probes.0.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // The engine is gone only at shutdown.
            let _ = sender.send(handler.probe().await.is_ok());
        });
    }

    pub(super) fn probed(&mut self, succeeded: bool) {
        match self.breaker.probed(succeeded) {
            Some(wait) => self.probe_after(wait),
            None => {
                let held = std::mem::take(&mut self.held);
                tracing::info!(records = held.len(), "dependency available again, consuming resumes");
                metrics::gauge!("coupon_breaker_open").set(0);
                for key in held {
                    self.start(key);
                }
            }
        }
    }
}
