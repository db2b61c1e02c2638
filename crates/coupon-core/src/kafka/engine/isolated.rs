//! Records that run one at a time, because each of them may be what takes the dependency away.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{Engine, Handler, Key};

/// Times a record may find the dependency away, each time after a probe had found it there, before it runs alone.
const MAX_STRIKES: u32 = 3;
/// A record that has found the dependency there for so long begins anew: three outages in a month are nobody's doing.
const MAX_STRIKE_AGE: Duration = Duration::from_mins(5);
/// So many that ran alone and ended well, one after the other, speak for those that still wait.
const SUCCESSES_TO_ACQUIT: u32 = 8;

/// How often a record has found the dependency away.
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
    /// How many have ended well, one after the other.
    well: u32,
}

impl Strikes {
    /// One more.
    pub(super) fn add(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.duration_since(last) > MAX_STRIKE_AGE) {
            self.number = 0;
        }
        *self = Self { number: self.number + 1, last: Some(now) };
    }

    /// Whether the record has to run alone.
    pub(super) fn isolate(&self) -> bool {
        self.number >= MAX_STRIKES
    }

    /// The record may run with others; one strike more and it may not.
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

    /// A record has ended, which may be the one that runs alone. `true` when those that wait are to be acquitted.
    pub(super) fn ended(&mut self, key: Key, well: bool) -> bool {
        if self.running != Some(key) {
            return false;
        }
        self.running = None;
        self.well = if well { self.well + 1 } else { 0 };
        self.well >= SUCCESSES_TO_ACQUIT && !self.waiting.is_empty()
    }

    /// Forgets those that are outstanding no more.
    pub(super) fn retain(&mut self, mut is_outstanding: impl FnMut(Key) -> bool) {
        self.waiting.retain(|key| is_outstanding(*key));
    }
}

impl<H: Handler> Engine<H> {
    /// The next of the records that run one at a time, if none does.
    pub(super) fn start_next_isolated(&mut self) {
        while self.isolated.running.is_none() {
            let Some(next) = self.isolated.waiting.pop_front() else { return };
            self.start(next);
        }
    }

    /// Lets those that wait for their turn alone go on together: after an outage that has struck three times they are
    /// thousands, and hardly one of them is to blame.
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
