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

/// An outbox entry and its campaign.
type Entry = (CouponCode, OutboxEntry);

/// The publications of one process that are in flight: from the queue of the Kafka client to the deletion of the outbox entry.
#[derive(Debug, Default)]
pub struct InFlight(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Each publication with the time at which it began; `None` once it is acknowledged.
    publications: HashMap<RequestId, Option<(Entry, Instant)>>,
    /// Number of publications that are not acknowledged.
    unacknowledged: usize,
    /// Since when this process publishes without any acknowledgement.
    unacknowledged_since: Option<Instant>,
    /// The last publication that failed after the last acknowledgement.
    failed: Option<(Entry, Instant)>,
    /// Since when other processes are seen to publish what this process cannot.
    others_publish_since: Option<Instant>,
    is_cut_off: bool,
}

impl InFlight {
    /// Begins a publication; `false` when it is in flight already.
    pub fn begin(&self, code: &CouponCode, entry: &OutboxEntry, now: Instant) -> bool {
        let mut state = self.lock();
        if state.publications.contains_key(&entry.request_id) {
            return false;
        }
        state.publications.insert(entry.request_id, Some(((code.clone(), entry.clone()), now)));
        state.unacknowledged += 1;
        state.unacknowledged_since.get_or_insert(now);
        true
    }

    /// Kafka has acknowledged a publication, so this process is not cut off.
    pub fn acknowledged(&self, request_id: RequestId, now: Instant) {
        let mut state = self.lock();
        state.take(request_id);
        state.unacknowledged_since = (state.unacknowledged > 0).then_some(now);
        state.failed = None;
        state.clear_cut_off();
    }

    /// A publication failed; the broker may have the record all the same.
    pub fn failed(&self, request_id: RequestId, now: Instant) {
        let mut state = self.lock();
        if let Some(entry) = state.take(request_id) {
            state.failed = Some((entry, now));
        }
    }

    /// A publication was not even queued, and is not in flight any more.
    pub fn refused(&self, code: CouponCode, entry: OutboxEntry, now: Instant) {
        self.lock().failed = Some(((code, entry), now));
    }

    /// Ends a publication: its outbox entry is deleted, or stays for the relay.
    pub fn end(&self, request_id: RequestId) {
        let mut state = self.lock();
        state.take(request_id);
        state.publications.remove(&request_id);
    }

    /// Whether the publication of a request has begun and not ended.
    pub fn is_in_flight(&self, request_id: RequestId) -> bool {
        self.lock().publications.contains_key(&request_id)
    }

    /// For how long this process has published without any acknowledgement.
    pub fn unacknowledged_for(&self, now: Instant) -> Duration {
        self.lock().unacknowledged_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether a publication that is not acknowledged is in flight.
    pub fn has_unacknowledged(&self) -> bool {
        self.lock().unacknowledged > 0
    }

    /// Whether this process alone cannot publish.
    pub fn is_cut_off(&self) -> bool {
        self.lock().is_cut_off
    }

    /// Another process has published what this one could not. This process is cut off when that is seen for `grace`: one that
    /// is only the last to reach Kafka again gets an acknowledgement before that.
    pub fn others_publish(&self, request_id: RequestId, now: Instant, grace: Duration) {
        let mut state = self.lock();
        // Unless the publication was acknowledged just now.
        let is_failed = state.failed.as_ref().is_some_and(|((_, entry), _)| entry.request_id == request_id);
        if is_failed || state.publications.get(&request_id).is_some_and(Option::is_some) {
            let since = *state.others_publish_since.get_or_insert(now);
            state.is_cut_off = now.saturating_duration_since(since) >= grace;
        }
    }

    /// No other process is seen to publish either, so this one is not cut off.
    pub fn nobody_publishes(&self) {
        self.lock().clear_cut_off();
    }

    /// The entry whose absence from the outbox would show that other processes publish, when nothing was acknowledged for
    /// `patience`. A failed publication that is not in flight counts for `patience` only: then publishing is tried anew.
    pub fn cut_off_evidence(&self, now: Instant, patience: Duration) -> Option<Entry> {
        let mut state = self.lock();
        let is_old = |since: Instant| now.saturating_duration_since(since) >= patience;
        if state.unacknowledged == 0 && state.failed.as_ref().is_none_or(|(_, at)| is_old(*at)) {
            state.clear_cut_off();
            state.unacknowledged_since = None;
            return None;
        }
        if !state.unacknowledged_since.is_some_and(is_old) {
            return None;
        }
        // The newest that is old enough to have been published by others: an older one shows how things were before.
        let old = state.publications.values().flatten().filter(|(_, begun)| is_old(*begun));
        let newest = old.max_by_key(|(_, begun)| *begun);
        newest.or(state.failed.as_ref()).map(|(entry, _)| entry.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes the entry of a publication that is not acknowledged, and counts the publication no longer.
    fn take(&mut self, request_id: RequestId) -> Option<Entry> {
        let (entry, _) = self.publications.get_mut(&request_id)?.take()?;
        self.unacknowledged -= 1;
        Some(entry)
    }

    fn clear_cut_off(&mut self) {
        (self.others_publish_since, self.is_cut_off) = (None, false);
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::clock::SystemClock;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const GRACE: Duration = Duration::from_secs(4);

    fn entry() -> Entry {
        let entry =
            OutboxEntry { request_id: RequestId::make(&SystemClock), epoch: 1, member_id: "member".parse().unwrap() };
        ("SPRING".parse().unwrap(), entry)
    }

    #[test]
    fn a_publication_is_under_way_once_until_its_entry_is_deleted() {
        let (in_flight, now, (code, entry)) = (InFlight::default(), Instant::now(), entry());
        assert!(in_flight.begin(&code, &entry, now) && !in_flight.begin(&code, &entry, now));
        in_flight.acknowledged(entry.request_id, now);
        assert!(in_flight.is_in_flight(entry.request_id) && !in_flight.has_unacknowledged());
        in_flight.end(entry.request_id);
        assert!(!in_flight.is_in_flight(entry.request_id));
    }

    #[test]
    fn a_process_is_cut_off_when_others_publish_for_a_while_what_it_cannot_and_until_an_acknowledgement() {
        let (in_flight, start, (code, entry)) = (InFlight::default(), Instant::now(), entry());
        in_flight.begin(&code, &entry, start);
        assert_eq!(in_flight.cut_off_evidence(start + PATIENCE / 2, PATIENCE), None, "not for long enough");
        let late = start + PATIENCE;
        assert_eq!(in_flight.cut_off_evidence(late, PATIENCE), Some((code.clone(), entry.clone())));
        in_flight.others_publish(entry.request_id, late, GRACE);
        assert!(!in_flight.is_cut_off(), "it may only be the last to reach kafka again");
        in_flight.others_publish(entry.request_id, late + GRACE, GRACE);
        assert!(in_flight.is_cut_off());
        in_flight.acknowledged(entry.request_id, late + GRACE);
        assert!(!in_flight.is_cut_off() && in_flight.unacknowledged_for(late + GRACE) == Duration::ZERO);
        in_flight.others_publish(entry.request_id, late + GRACE * 3, GRACE);
        assert!(!in_flight.is_cut_off(), "what was acknowledged meanwhile has left the outbox by this process");
    }

    #[test]
    fn the_newest_entry_that_is_old_enough_tells_and_ends_the_verdict_of_an_older_one() {
        let (in_flight, start, (code, first)) = (InFlight::default(), Instant::now(), entry());
        in_flight.begin(&code, &first, start);
        let ((_, second), (_, third)) = (entry(), entry());
        in_flight.begin(&code, &second, start + GRACE * 2);
        let late = start + PATIENCE;
        for at in [late, late + GRACE] {
            assert_eq!(in_flight.cut_off_evidence(at, PATIENCE), Some((code.clone(), first.clone())));
            in_flight.others_publish(first.request_id, at, GRACE);
        }
        assert!(in_flight.is_cut_off());
        let later = late + GRACE * 2;
        in_flight.begin(&code, &third, later);
        assert_eq!(
            in_flight.cut_off_evidence(later, PATIENCE),
            Some((code.clone(), second.clone())),
            "also while cut off"
        );
        in_flight.nobody_publishes();
        assert!(!in_flight.is_cut_off(), "the second is still in the outbox");
        in_flight.others_publish(second.request_id, later, GRACE);
        assert!(!in_flight.is_cut_off(), "the grace begins anew");
    }

    #[test]
    fn what_is_refused_at_once_shows_it_too_and_is_tried_anew_after_a_while() {
        let (in_flight, start) = (InFlight::default(), Instant::now());
        for half in 0..=2 {
            let ((code, entry), now) = (entry(), start + PATIENCE / 2 * half);
            in_flight.begin(&code, &entry, now);
            in_flight.failed(entry.request_id, now);
            in_flight.end(entry.request_id);
        }
        let late = start + PATIENCE;
        let (_, entry) = in_flight.cut_off_evidence(late, PATIENCE).expect("nothing was acknowledged for long");
        in_flight.others_publish(entry.request_id, late, GRACE);
        in_flight.others_publish(entry.request_id, late + GRACE, GRACE);
        assert!(in_flight.is_cut_off());
        assert!(in_flight.cut_off_evidence(late + PATIENCE, PATIENCE).is_none() && !in_flight.is_cut_off());
    }
}
