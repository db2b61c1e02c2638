//! What this process is publishing, and whether Kafka acknowledges any of it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use coupon_core::{
    ids::{CouponCode, RequestId},
    stock::OutboxEntry,
};
use tokio::time::Instant;

/// One promise and its campaign.
type Promise = (CouponCode, OutboxEntry);

/// The publications of one process.
#[derive(Debug, Default)]
pub struct Progress(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// From the queue to the deletion of the promise; `None` once it is acknowledged.
    flights: HashMap<RequestId, Option<Promise>>,
    /// Flights that are not acknowledged.
    waiting: usize,
    /// Since when something has been tried without any acknowledgement.
    since: Option<Instant>,
    /// The last publication that failed after the last acknowledgement.
    failed: Option<(Promise, Instant)>,
    is_cut_off: bool,
}

impl Progress {
    /// A publication begins; `false` when it is under way already.
    pub fn begin(&self, code: &CouponCode, entry: &OutboxEntry, now: Instant) -> bool {
        let mut state = self.lock();
        if state.flights.contains_key(&entry.request_id) {
            return false;
        }
        state.flights.insert(entry.request_id, Some((code.clone(), entry.clone())));
        state.waiting += 1;
        state.since.get_or_insert(now);
        true
    }

    /// Kafka has acknowledged it, so whatever was the matter is over.
    pub fn acknowledged(&self, request_id: RequestId, now: Instant) {
        let mut state = self.lock();
        state.take(request_id);
        state.since = (state.waiting > 0).then_some(now);
        state.failed = None;
        state.is_cut_off = false;
    }

    /// It failed, whatever that means for the record.
    pub fn failed(&self, request_id: RequestId, now: Instant) {
        let mut state = self.lock();
        if let Some(promise) = state.take(request_id) {
            state.failed = Some((promise, now));
        }
    }

    /// It was not even queued. Its flight has ended by then.
    pub fn refused(&self, code: CouponCode, entry: OutboxEntry, now: Instant) {
        self.lock().failed = Some(((code, entry), now));
    }

    /// The promise is deleted, or the publication is over without.
    pub fn end(&self, request_id: RequestId) {
        let mut state = self.lock();
        state.take(request_id);
        state.flights.remove(&request_id);
    }

    /// Whether it has begun and not ended.
    pub fn is_in_flight(&self, request_id: RequestId) -> bool {
        self.lock().flights.contains_key(&request_id)
    }

    /// For how long something has been tried without any acknowledgement.
    pub fn unacknowledged_for(&self, now: Instant) -> Duration {
        self.lock().since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether something is on its way that is not acknowledged.
    pub fn is_waiting(&self) -> bool {
        self.lock().waiting > 0
    }

    /// Whether it was found out that only this process cannot publish.
    pub fn is_cut_off(&self) -> bool {
        self.lock().is_cut_off
    }

    /// Another process has published what this one could not.
    pub fn cut_off(&self, request_id: RequestId) {
        let mut state = self.lock();
        // Unless it was acknowledged just now.
        let is_failed = state.failed.as_ref().is_some_and(|((_, entry), _)| entry.request_id == request_id);
        if is_failed || state.flights.get(&request_id).is_some_and(Option::is_some) {
            state.is_cut_off = true;
        }
    }

    /// The promise whose absence from the outbox would show that others publish, when nothing was acknowledged for
    /// `patience`. What has failed and is not on its way any more counts for so long only: then it is tried anew.
    pub fn suspicion(&self, now: Instant, patience: Duration) -> Option<Promise> {
        let mut state = self.lock();
        let is_old = |since: Instant| now.saturating_duration_since(since) >= patience;
        if state.waiting == 0 && state.failed.as_ref().is_none_or(|(_, at)| is_old(*at)) {
            (state.is_cut_off, state.since) = (false, None);
            return None;
        }
        if state.is_cut_off || !state.since.is_some_and(is_old) {
            return None;
        }
        // The oldest, by the time in its id: the others may be too young to have been published by anybody else.
        let oldest =
            state.flights.iter().filter_map(|(id, promise)| Some((id, promise.as_ref()?))).min_by_key(|(id, _)| **id);
        oldest.map(|(_, promise)| promise.clone()).or_else(|| state.failed.as_ref().map(|(promise, _)| promise.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The promise of a flight that has not been acknowledged; it waits no more.
    fn take(&mut self, request_id: RequestId) -> Option<Promise> {
        let promise = self.flights.get_mut(&request_id)?.take()?;
        self.waiting -= 1;
        Some(promise)
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::clock::SystemClock;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn promise() -> Promise {
        let entry =
            OutboxEntry { request_id: RequestId::make(&SystemClock), epoch: 1, member_id: "member".parse().unwrap() };
        ("SPRING".parse().unwrap(), entry)
    }

    #[test]
    fn a_publication_is_under_way_once_until_its_promise_is_deleted() {
        let (progress, now, (code, entry)) = (Progress::default(), Instant::now(), promise());
        assert!(progress.begin(&code, &entry, now) && !progress.begin(&code, &entry, now));
        progress.acknowledged(entry.request_id, now);
        assert!(progress.is_in_flight(entry.request_id) && !progress.is_waiting());
        progress.end(entry.request_id);
        assert!(!progress.is_in_flight(entry.request_id));
    }

    #[test]
    fn a_process_is_cut_off_only_when_others_publish_what_it_cannot_and_until_an_acknowledgement() {
        let (progress, start, (code, entry)) = (Progress::default(), Instant::now(), promise());
        progress.begin(&code, &entry, start);
        assert_eq!(progress.suspicion(start + PATIENCE / 2, PATIENCE), None, "not for long enough");
        let late = start + PATIENCE;
        assert_eq!(progress.suspicion(late, PATIENCE), Some((code.clone(), entry.clone())));
        assert!(!progress.is_cut_off(), "it is still in the outbox, for all that is known");
        progress.cut_off(entry.request_id);
        assert!(progress.is_cut_off());
        progress.acknowledged(entry.request_id, late);
        assert!(!progress.is_cut_off() && progress.unacknowledged_for(late) == Duration::ZERO);
        progress.cut_off(entry.request_id);
        assert!(!progress.is_cut_off(), "what was acknowledged meanwhile has left the outbox by this process");
    }

    #[test]
    fn what_is_refused_at_once_shows_it_too_and_is_tried_anew_after_a_while() {
        let (progress, start) = (Progress::default(), Instant::now());
        for half in 0..=2 {
            let ((code, entry), now) = (promise(), start + PATIENCE / 2 * half);
            progress.begin(&code, &entry, now);
            progress.failed(entry.request_id, now);
            progress.end(entry.request_id);
        }
        let late = start + PATIENCE;
        let (_, entry) = progress.suspicion(late, PATIENCE).expect("nothing was acknowledged for long");
        progress.cut_off(entry.request_id);
        assert!(progress.suspicion(late, PATIENCE).is_none() && progress.is_cut_off());
        assert!(progress.suspicion(late + PATIENCE, PATIENCE).is_none() && !progress.is_cut_off());
    }
}
