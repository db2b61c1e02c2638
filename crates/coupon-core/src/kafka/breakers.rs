//! What the stages of a record need from outside: a breaker for each dependency, and the records that wait for it.
//! Holds no I/O.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{Breaker, partition_tracker::Key};

/// What is being done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// One attempt.
    Attempt,
    /// What follows the last attempt.
    Exhausted,
}

/// The dependencies of both stages, which may be one and the same.
pub(super) struct CircuitBreakers {
    attempt: CircuitBreaker,
    exhausted: Option<CircuitBreaker>,
}

/// One dependency.
pub(super) struct CircuitBreaker {
    /// Its name, for the log and the gauge.
    pub(super) name: &'static str,
    breaker: Breaker,
    waiting: VecDeque<Key>,
    half_open_probe: Option<Key>,
    /// Since when it is away without a break, and why. Kept over a probe that succeeds until work does.
    away: Option<(Instant, String)>,
}

impl CircuitBreakers {
    /// The names of the dependencies of both stages.
    pub(super) fn new(attempt: &'static str, exhausted: &'static str) -> Self {
        Self {
            attempt: CircuitBreaker::new(attempt),
            exhausted: (attempt != exhausted).then(|| CircuitBreaker::new(exhausted)),
        }
    }

    /// The breaker of the dependency of this stage.
    pub(super) fn of(&mut self, stage: Stage) -> &mut CircuitBreaker {
        match (stage, &mut self.exhausted) {
            (Stage::Exhausted, Some(breaker)) => breaker,
            _ => &mut self.attempt,
        }
    }

    /// Whether nothing can be attempted now.
    pub(super) fn blocks_attempts(&self) -> bool {
        self.attempt.breaker.is_open()
    }

    /// Since when nothing could be attempted, and why; `None` when something can, or could a moment ago.
    pub(super) fn away(&self) -> Option<&(Instant, String)> {
        self.attempt.away.as_ref()
    }

    /// Whether a write of our own can tell that what this stage needs is back. If not, one waiting record has to.
    pub(super) fn can_be_probed(&self, stage: Stage) -> bool {
        stage == Stage::Attempt || self.exhausted.is_none()
    }

    /// Forgets the waiting records that are outstanding no more.
    pub(super) fn retain(&mut self, mut is_outstanding: impl FnMut(Key) -> bool) {
        self.attempt.waiting.retain(|key| is_outstanding(*key));
        if let Some(breaker) = &mut self.exhausted {
            breaker.waiting.retain(|key| is_outstanding(*key));
        }
    }
}

impl CircuitBreaker {
    /// Work that uses the dependency has just succeeded.
    pub(super) fn record_success(&mut self) {
        self.breaker.record_success();
        self.record_answer();
    }

    /// It is there, whatever it said.
    pub(super) fn record_answer(&mut self) {
        if !self.breaker.is_open() {
            self.away = None;
        }
    }

    fn new(name: &'static str) -> Self {
        Self { name, breaker: Breaker::default(), waiting: VecDeque::new(), half_open_probe: None, away: None }
    }

    /// Whether this record may go on: the dependency is there, or the record is to tell whether it is.
    pub(super) fn admits(&self, key: Key) -> bool {
        !self.breaker.is_open() || self.half_open_probe == Some(key)
    }

    /// Lets a record wait until the dependency is back.
    pub(super) fn wait(&mut self, key: Key) {
        self.waiting.push_back(key);
    }

    /// The dependency is away, by these words. Gives the wait until it is looked for, or `None` when somebody does already.
    pub(super) fn trip(&mut self, why: &str) -> Option<Duration> {
        self.away.get_or_insert_with(|| (Instant::now(), why.to_owned()));
        self.breaker.trip()
    }

    /// Takes the next waiting record as the half-open probe.
    pub(super) fn next_probe(&mut self) -> Option<Key> {
        self.half_open_probe = self.waiting.pop_front();
        self.half_open_probe
    }

    /// Whether this record was the one that tried the dependency; it is none any more.
    pub(super) fn ends_probe(&mut self, key: Key) -> bool {
        self.half_open_probe.take_if(|probe| *probe == key).is_some()
    }

    /// Records the result of a half-open probe. Gives the records that may go on now, or the wait until the next probe.
    pub(super) fn probe_result(&mut self, is_back: bool) -> Result<VecDeque<Key>, Duration> {
        match self.breaker.probed(is_back) {
            Some(wait) => Err(wait),
            None => {
                if self.waiting.is_empty() {
                    self.away = None;
                }
                Ok(std::mem::take(&mut self.waiting))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(offset: i64) -> Key {
        Key { partition: 0, generation: 1, offset }
    }

    #[test]
    fn a_dependency_that_is_away_bars_only_the_stage_that_needs_it() {
        let mut breakers = CircuitBreakers::new("postgresql", "kafka");
        assert!(breakers.of(Stage::Exhausted).trip("away").is_some());
        assert!(!breakers.blocks_attempts() && breakers.of(Stage::Attempt).admits(key(1)));
        assert!(!breakers.of(Stage::Exhausted).admits(key(1)));
        assert!(breakers.can_be_probed(Stage::Attempt) && !breakers.can_be_probed(Stage::Exhausted));
        let mut shared = CircuitBreakers::new("postgresql", "postgresql");
        assert!(shared.of(Stage::Exhausted).trip("away").is_some());
        assert!(shared.blocks_attempts() && shared.can_be_probed(Stage::Exhausted));
    }

    #[test]
    fn one_record_tries_the_dependency_and_the_others_follow_it() {
        let mut breakers = CircuitBreakers::new("postgresql", "kafka");
        let breaker = breakers.of(Stage::Exhausted);
        breaker.trip("away");
        for offset in 1..=3 {
            breaker.wait(key(offset));
        }
        assert_eq!(breaker.next_probe(), Some(key(1)));
        assert!(breaker.admits(key(1)) && !breaker.admits(key(2)));
        assert!(!breaker.ends_probe(key(2)) && breaker.ends_probe(key(1)));
        breaker.wait(key(1));
        assert!(breaker.probe_result(false).is_err() && !breaker.admits(key(1)));
        assert_eq!(breaker.probe_result(true).map(Vec::from), Ok(vec![key(2), key(3), key(1)]));
        assert!(breaker.admits(key(2)));
    }

    #[test]
    fn records_of_a_revoked_partition_wait_no_more() {
        let mut breakers = CircuitBreakers::new("postgresql", "kafka");
        for stage in [Stage::Attempt, Stage::Exhausted] {
            breakers.of(stage).trip("away");
            breakers.of(stage).wait(key(1));
            breakers.of(stage).wait(key(2));
        }
        breakers.retain(|key| key.offset == 2);
        for stage in [Stage::Attempt, Stage::Exhausted] {
            assert_eq!(breakers.of(stage).probe_result(true).map(Vec::from), Ok(vec![key(2)]));
        }
    }

    proptest! {
        /// Whatever fails, is looked for and is revoked in whatever order: a record that waits is let go exactly once,
        /// and nobody waits while the dependency is there.
        #[test]
        fn every_record_that_waits_is_let_go_once(steps in proptest::collection::vec((0usize..4, 0i64..20), 1..200)) {
            let mut breaker = CircuitBreaker::new("kafka");
            let (mut waiting, mut looks) = (std::collections::BTreeSet::new(), 0);
            for (step, offset) in steps {
                match step {
                    0 => looks += u32::from(breaker.trip("away").is_some()),
                    1 if !breaker.admits(key(offset)) && waiting.insert(offset) => breaker.wait(key(offset)),
                    2 | 3 if looks > 0 => {
                        let probe = breaker.next_probe();
                        if let Some(probe) = probe {
                            prop_assert!(waiting.contains(&probe.offset) && breaker.admits(probe));
                            prop_assert!(breaker.ends_probe(probe) && !breaker.ends_probe(probe));
                            if step == 2 {
                                breaker.wait(probe);
                            } else {
                                waiting.remove(&probe.offset);
                            }
                        }
                        match breaker.probe_result(step == 3) {
                            Ok(let_go) => {
                                looks -= 1;
                                let let_go: std::collections::BTreeSet<i64> = let_go.iter().map(|key| key.offset).collect();
                                prop_assert_eq!(let_go, std::mem::take(&mut waiting));
                            }
                            Err(_) => prop_assert_eq!(step, 2),
                        }
                    }
                    _ => {}
                }
                prop_assert!(looks <= 1);
                prop_assert!(waiting.is_empty() || looks == 1, "records wait and no probe is due");
            }
        }
    }
}
