//! The circuit breakers of the dependencies that the stages of a record need, and the records that wait for them. While a
//! dependency is away, nothing is tried and no attempt is charged. Holds no I/O.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::partition_tracker::Key;
use crate::retry::Backoff;

/// What is being done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// One attempt.
    Attempt,
    /// What follows the last attempt.
    Exhausted,
}

/// The circuit breakers of both stages, which are one where both stages need the same dependency.
pub(super) struct CircuitBreakers {
    attempt: CircuitBreaker,
    exhausted: Option<CircuitBreaker>,
}

/// The circuit breaker of one dependency: closed while the dependency answers, open from the first failure that says it
/// does not, until a probe has succeeded.
pub(super) struct CircuitBreaker {
    /// Name of the dependency, for the log and the gauge.
    pub(super) dependency: &'static str,
    is_open: bool,
    /// Waits between probes.
    backoff: Backoff,
    waiting: VecDeque<Key>,
    half_open_probe: Option<Key>,
    /// Since when the dependency has been away, and why. Kept over a probe that succeeds until work does.
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
        self.attempt.is_open
    }

    /// Since when nothing could be attempted, and why; `None` when something can, or could a moment ago.
    pub(super) fn away(&self) -> Option<&(Instant, String)> {
        self.attempt.away.as_ref()
    }

    /// Whether the handler can probe the dependency of this stage. If not, a waiting record is the half-open probe.
    pub(super) fn can_be_probed(&self, stage: Stage) -> bool {
        stage == Stage::Attempt || self.exhausted.is_none()
    }

    /// Drops the waiting records that are no longer outstanding.
    pub(super) fn retain(&mut self, mut is_outstanding: impl FnMut(Key) -> bool) {
        for breaker in [&mut self.attempt].into_iter().chain(&mut self.exhausted) {
            breaker.waiting.retain(|key| is_outstanding(*key));
        }
    }
}

impl CircuitBreaker {
    /// Probes after 0.5 s, 1 s, 2 s, then every 4 s, each with jitter (DESIGN: work resumes within 10 s of recovery).
    fn new(dependency: &'static str) -> Self {
        Self {
            dependency,
            is_open: false,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(4)),
            waiting: VecDeque::new(),
            half_open_probe: None,
            away: None,
        }
    }

    /// Work that uses the dependency has just succeeded. A probe that succeeds where the work still fails does not make the
    /// waits short again, or the breaker would flap.
    pub(super) fn record_success(&mut self) {
        if !self.is_open {
            self.backoff.reset();
        }
        self.record_answer();
    }

    /// The dependency has answered, if only with a refusal.
    pub(super) fn record_answer(&mut self) {
        if !self.is_open {
            self.away = None;
        }
    }

    /// Whether this record may go on: the breaker is closed, or the record is the half-open probe.
    pub(super) fn admits(&self, key: Key) -> bool {
        !self.is_open || self.half_open_probe == Some(key)
    }

    /// Lets a record wait until the dependency is back.
    pub(super) fn wait(&mut self, key: Key) {
        self.waiting.push_back(key);
    }

    /// Opens the breaker. Gives the wait until the first probe; `None` when the breaker was open already.
    pub(super) fn trip(&mut self, why: &str) -> Option<Duration> {
        self.away.get_or_insert_with(|| (Instant::now(), why.to_owned()));
        let was_open = std::mem::replace(&mut self.is_open, true);
        (!was_open).then(|| self.backoff.next_wait())
    }

    /// Takes the next waiting record as the half-open probe.
    pub(super) fn next_probe(&mut self) -> Option<Key> {
        self.half_open_probe = self.waiting.pop_front();
        self.half_open_probe
    }

    /// Whether this record was the half-open probe; it is none any more.
    pub(super) fn ends_probe(&mut self, key: Key) -> bool {
        self.half_open_probe.take_if(|probe| *probe == key).is_some()
    }

    /// Records the result of a half-open probe; success closes the breaker. Gives the records that may go on now, or the wait
    /// until the next probe.
    pub(super) fn probe_result(&mut self, is_back: bool) -> Result<VecDeque<Key>, Duration> {
        if !is_back {
            return Err(self.backoff.next_wait());
        }
        self.is_open = false;
        if self.waiting.is_empty() {
            self.away = None;
        }
        Ok(std::mem::take(&mut self.waiting))
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

    #[test]
    fn it_opens_once_and_closes_only_by_a_probe_that_succeeds() {
        let mut breaker = CircuitBreaker::new("kafka");
        assert!(breaker.trip("away").is_some() && breaker.is_open);
        assert_eq!(breaker.trip("away"), None, "one probe is under way, not one for each failure");
        assert!(breaker.probe_result(false).is_err() && breaker.is_open);
        assert!(breaker.probe_result(true).is_ok() && !breaker.is_open);
        assert!(breaker.trip("away").is_some_and(|wait| wait >= Duration::from_secs(1)), "nothing has worked since");
        breaker.record_success();
        assert!(breaker.probe_result(true).is_ok());
        breaker.record_success();
        assert!(breaker.trip("away").is_some_and(|wait| wait <= Duration::from_millis(500)), "begins anew");
    }

    proptest! {
        /// Whatever the order of failures and probes: it is open from the first failure to the next probe that
        /// succeeds, one probe is under way while it is open and none otherwise, and no wait is above 4 s.
        #[test]
        fn one_probe_is_under_way_while_it_is_open_and_none_otherwise(
            steps in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..200),
        ) {
            let (mut breaker, mut is_open, mut probes) = (CircuitBreaker::new("kafka"), false, 0);
            for (is_failure, succeeds) in steps {
                let wait = if is_failure {
                    let wait = breaker.trip("away");
                    prop_assert_eq!(wait.is_some(), !is_open);
                    is_open = true;
                    wait
                } else if probes > 0 {
                    probes -= 1;
                    is_open = !succeeds;
                    breaker.probe_result(succeeds).err()
                } else {
                    continue;
                };
                probes += u32::from(wait.is_some());
                prop_assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(4)));
                prop_assert_eq!(breaker.is_open, is_open);
                prop_assert_eq!(probes, u32::from(is_open));
            }
        }

        /// Whatever fails, is looked for and is revoked in whatever order: a record that waits is let go exactly once,
        /// and nobody waits while the dependency is there.
        #[test]
        fn every_record_that_waits_is_let_go_once(steps in proptest::collection::vec((0usize..4, 0i64..20), 1..200)) {
            let mut breaker = CircuitBreaker::new("kafka");
            let (mut waiting, mut probes_due) = (std::collections::BTreeSet::new(), 0);
            for (step, offset) in steps {
                match step {
                    0 => probes_due += u32::from(breaker.trip("away").is_some()),
                    1 if !breaker.admits(key(offset)) && waiting.insert(offset) => breaker.wait(key(offset)),
                    2 | 3 if probes_due > 0 => {
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
                                probes_due -= 1;
                                let let_go: std::collections::BTreeSet<i64> = let_go.iter().map(|key| key.offset).collect();
                                prop_assert_eq!(let_go, std::mem::take(&mut waiting));
                            }
                            Err(_) => prop_assert_eq!(step, 2),
                        }
                    }
                    _ => {}
                }
                prop_assert!(probes_due <= 1);
                prop_assert!(waiting.is_empty() || probes_due == 1, "records wait and no probe is due");
            }
        }
    }
}
