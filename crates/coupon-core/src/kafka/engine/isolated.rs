//! Records that run one at a time, because each of them may be the cause of the outages that it met.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{Engine, Handler, Key};

/// Outages that a record may meet, each after a probe had succeeded, before it runs isolated.
const MAX_STRIKES: u32 = 3;
/// Time without an outage after which the strikes of a record begin anew: three outages in a month are no record's doing.
const MAX_STRIKE_AGE: Duration = Duration::from_mins(5);
/// Isolated records that end well one after the other, after which those that still wait are acquitted.
const SUCCESSES_TO_ACQUIT: u32 = 8;

/// How many outages a record has met, and when the last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strikes {
    number: u32,
    last: Option<Instant>,
}

/// Records that run one at a time, and the one that does.
#[derive(Debug, Default)]
pub(super) struct IsolatedQueue {
    waiting: VecDeque<Key>,
    running: Option<Key>,
    /// Number of records that have ended well one after the other.
    well: u32,
}

impl Strikes {
    /// Counts one more outage at `now`.
    pub(super) fn add(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) > MAX_STRIKE_AGE) {
            self.number = 0;
        }
        *self = Self { number: self.number + 1, last: Some(now) };
    }

    /// Whether the record has to run isolated.
    pub(super) fn isolate(&self) -> bool {
        self.number >= MAX_STRIKES
    }

    /// Lets the record run with others again; one more strike isolates it.
    fn acquit(&mut self) {
        self.number = self.number.min(MAX_STRIKES - 1);
    }
}

impl IsolatedQueue {
    /// Lets a record run now, unless another one does; then it waits for its turn.
    pub(super) fn admits(&mut self, key: Key) -> bool {
        let is_free = self.running.is_none_or(|running| running == key);
        if is_free {
            self.running = Some(key);
        } else {
            self.waiting.push_back(key);
        }
        is_free
    }

    /// Notes the end of a record, isolated or not. `true` when the records that wait are to be acquitted.
    pub(super) fn ended(&mut self, key: Key, well: bool) -> bool {
        if self.running != Some(key) {
            return false;
        }
        self.running = None;
        self.well = if well { self.well + 1 } else { 0 };
        self.well >= SUCCESSES_TO_ACQUIT && !self.waiting.is_empty()
    }

    /// Drops the waiting records that are no longer outstanding.
    pub(super) fn retain(&mut self, mut is_outstanding: impl FnMut(Key) -> bool) {
        self.waiting.retain(|key| is_outstanding(*key));
    }
}

impl<H: Handler> Engine<H> {
    /// Starts the next isolated record, if none runs.
    pub(super) fn start_next_isolated(&mut self) {
        while self.isolated.running.is_none() {
            let Some(next) = self.isolated.waiting.pop_front() else { return };
            self.start(next);
        }
    }

    /// Lets all records that wait to run isolated go on together: after three outages in a row they are thousands, and hardly
    /// one of them is a cause.
    pub(super) fn acquit(&mut self) {
        self.isolated.well = 0;
        for key in std::mem::take(&mut self.isolated.waiting) {
            if let Some(entry) = self.tracker.get_mut(key) {
                entry.strikes.acquit();
            }
            self.start(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(offset: i64) -> Key {
        Key { partition: 0, generation: 1, offset }
    }

    #[test]
    fn strikes_of_long_ago_isolate_nobody() {
        let (mut strikes, mut now) = (Strikes::default(), Instant::now());
        for _ in 0..10 {
            strikes.add(now);
            assert!(!strikes.isolate());
            now += MAX_STRIKE_AGE + Duration::from_secs(1);
        }
        (0..MAX_STRIKES).for_each(|_| strikes.add(now));
        assert!(strikes.isolate(), "three in a row do");
        strikes.acquit();
        assert!(!strikes.isolate());
        strikes.add(now);
        assert!(strikes.isolate(), "one more after an acquittal does");
    }

    #[test]
    fn records_that_end_well_alone_speak_for_those_that_still_wait() {
        let mut alone = IsolatedQueue::default();
        assert!(alone.admits(key(0)));
        (1..100).for_each(|offset| assert!(!alone.admits(key(offset)), "one at a time"));
        for number in 1..=SUCCESSES_TO_ACQUIT {
            assert!(!alone.ended(key(1000), true), "it did not run alone");
            let running = alone.running.expect("one runs");
            assert_eq!(alone.ended(running, true), number == SUCCESSES_TO_ACQUIT);
            let next = alone.waiting.pop_front().expect("others wait");
            assert!(alone.admits(next));
        }
        let running = alone.running.expect("one runs");
        alone.ended(running, false);
        assert_eq!(alone.well, 0, "the guilty one ends it");
    }
}
