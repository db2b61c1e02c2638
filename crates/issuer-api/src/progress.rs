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
    flights: HashMap<RequestId, Option<(Promise, Instant)>>,
    /// Flights that are not acknowledged.
    waiting: usize,
    /// Since when something has been tried without any acknowledgement.
    since: Option<Instant>,
    /// The last publication that failed after the last acknowledgement.
    failed: Option<(Promise, Instant)>,
    /// Since when others publish, as far as can be seen, what this process cannot.
    others_since: Option<Instant>,
    is_cut_off: bool,
}

impl Progress {
    /// A publication begins; `false` when it is under way already.
    pub fn begin(&self, code: &CouponCode, entry: &OutboxEntry, now: Instant) -> bool {
        let mut state = self.lock();
        if state.flights.contains_key(&entry.request_id) {
            return false;
        }
        state.flights.insert(entry.request_id, Some(((code.clone(), entry.clone()), now)));
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
        state.accuse_nobody();
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

    /// Another process has published what this one could not. It is cut off when that is so for `grace`: who was only the
    /// last to reach Kafka again gets an acknowledgement before that.
    pub fn others_publish(&self, request_id: RequestId, now: Instant, grace: Duration) {
        let mut state = self.lock();
        // Unless it was acknowledged just now.
        let is_failed = state.failed.as_ref().is_some_and(|((_, entry), _)| entry.request_id == request_id);
        if is_failed || state.flights.get(&request_id).is_some_and(Option::is_some) {
            let since = *state.others_since.get_or_insert(now);
            state.is_cut_off = now.saturating_duration_since(since) >= grace;
        }
    }

    /// Nothing shows that others fare better, so whatever was found out before is no longer so.
    pub fn nobody_publishes(&self) {
        self.lock().accuse_nobody();
    }

    /// The promise whose absence from the outbox would show that others publish, when nothing was acknowledged for
    /// `patience`. What has failed and is not on its way any more counts for so long only: then it is tried anew.
    pub fn suspicion(&self, now: Instant, patience: Duration) -> Option<Promise> {
        let mut state = self.lock();
        let is_old = |since: Instant| now.saturating_duration_since(since) >= patience;
        if state.waiting == 0 && state.failed.as_ref().is_none_or(|(_, at)| is_old(*at)) {
            state.accuse_nobody();
            state.since = None;
            return None;
        }
        if !state.since.is_some_and(is_old) {
            return None;
        }
        // The newest that is old enough to have been published by others: an older one tells how things were before.
        let old = state.flights.values().flatten().filter(|(_, begun)| is_old(*begun));
        let newest = old.max_by_key(|(_, begun)| *begun);
        newest.or(state.failed.as_ref()).map(|(promise, _)| promise.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The promise of a flight that has not been acknowledged; it waits no more.
    fn take(&mut self, request_id: RequestId) -> Option<Promise> {
        let (promise, _) = self.flights.get_mut(&request_id)?.take()?;
        self.waiting -= 1;
        Some(promise)
    }

    fn accuse_nobody(&mut self) {
        (self.others_since, self.is_cut_off) = (None, false);
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::clock::SystemClock;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const GRACE: Duration = Duration::from_secs(4);

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
    fn a_process_is_cut_off_when_others_publish_for_a_while_what_it_cannot_and_until_an_acknowledgement() {
        let (progress, start, (code, entry)) = (Progress::default(), Instant::now(), promise());
        progress.begin(&code, &entry, start);
        assert_eq!(progress.suspicion(start + PATIENCE / 2, PATIENCE), None, "not for long enough");
        let late = start + PATIENCE;
        assert_eq!(progress.suspicion(late, PATIENCE), Some((code.clone(), entry.clone())));
        progress.others_publish(entry.request_id, late, GRACE);
        assert!(!progress.is_cut_off(), "it may only be the last to reach kafka again");
        progress.others_publish(entry.request_id, late + GRACE, GRACE);
        assert!(progress.is_cut_off());
        progress.acknowledged(entry.request_id, late + GRACE);
        assert!(!progress.is_cut_off() && progress.unacknowledged_for(late + GRACE) == Duration::ZERO);
        progress.others_publish(entry.request_id, late + GRACE * 3, GRACE);
        assert!(!progress.is_cut_off(), "what was acknowledged meanwhile has left the outbox by this process");
    }

    #[test]
    fn the_newest_promise_that_is_old_enough_tells_and_ends_the_verdict_of_an_older_one() {
        let (progress, start, (code, first)) = (Progress::default(), Instant::now(), promise());
        progress.begin(&code, &first, start);
        let ((_, second), (_, third)) = (promise(), promise());
        progress.begin(&code, &second, start + GRACE * 2);
        let late = start + PATIENCE;
        for at in [late, late + GRACE] {
            assert_eq!(progress.suspicion(at, PATIENCE), Some((code.clone(), first.clone())));
            progress.others_publish(first.request_id, at, GRACE);
        }
        assert!(progress.is_cut_off());
        let later = late + GRACE * 2;
        progress.begin(&code, &third, later);
        assert_eq!(progress.suspicion(later, PATIENCE), Some((code.clone(), second.clone())), "also while cut off");
        progress.nobody_publishes();
        assert!(!progress.is_cut_off(), "the second is still in the outbox");
        progress.others_publish(second.request_id, later, GRACE);
        assert!(!progress.is_cut_off(), "the grace begins anew");
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
        progress.others_publish(entry.request_id, late, GRACE);
        progress.others_publish(entry.request_id, late + GRACE, GRACE);
        assert!(progress.is_cut_off());
        assert!(progress.suspicion(late + PATIENCE, PATIENCE).is_none() && !progress.is_cut_off());
    }
}
