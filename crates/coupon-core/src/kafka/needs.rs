//! What the stages of a record need from outside: a breaker for each dependency, and the records that wait for it.
//! Holds no I/O.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{Breaker, lanes::Key};

/// What is being done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// One attempt.
    Attempt,
    /// What follows the last attempt.
    GiveUp,
}

/// The dependencies of both stages, which may be one and the same.
pub(super) struct Needs {
    attempt: Need,
    give_up: Option<Need>,
}

/// One dependency.
pub(super) struct Need {
    /// Its name, for the log and the gauge.
    pub(super) name: &'static str,
    breaker: Breaker,
    waiting: VecDeque<Key>,
    trial: Option<Key>,
    /// Since when it is away without a break, and why. Kept over a probe that succeeds until work does.
    away: Option<(Instant, String)>,
}

impl Needs {
    /// The names of what attempts and giving up need.
    pub(super) fn new(attempt: &'static str, give_up: &'static str) -> Self {
        Self { attempt: Need::new(attempt), give_up: (attempt != give_up).then(|| Need::new(give_up)) }
    }

    /// What this stage needs.
    pub(super) fn of(&mut self, stage: Stage) -> &mut Need {
        match (stage, &mut self.give_up) {
            (Stage::GiveUp, Some(need)) => need,
            _ => &mut self.attempt,
        }
    }

    /// Whether nothing can be attempted now.
    pub(super) fn bars_attempts(&self) -> bool {
        self.attempt.breaker.is_open()
    }

    /// Since when nothing could be attempted, and why; `None` when something can, or could a moment ago.
    pub(super) fn away(&self) -> Option<&(Instant, String)> {
        self.attempt.away.as_ref()
    }

    /// Whether a write of our own can tell that what this stage needs is back. If not, one waiting record has to.
    pub(super) fn can_be_probed(&self, stage: Stage) -> bool {
        stage == Stage::Attempt || self.give_up.is_none()
    }

    /// Forgets the waiting records that are none any more.
    pub(super) fn retain(&mut self, mut is_outstanding: impl FnMut(Key) -> bool) {
        self.attempt.waiting.retain(|key| is_outstanding(*key));
        if let Some(need) = &mut self.give_up {
            need.waiting.retain(|key| is_outstanding(*key));
        }
    }
}

impl Need {
    /// What needs it has just worked.
    pub(super) fn worked(&mut self) {
        self.breaker.worked();
        self.answered();
    }

    /// It is there, whatever it said.
    pub(super) fn answered(&mut self) {
        if !self.breaker.is_open() {
            self.away = None;
        }
    }

    fn new(name: &'static str) -> Self {
        Self { name, breaker: Breaker::default(), waiting: VecDeque::new(), trial: None, away: None }
    }

    /// Whether this record may go on: the dependency is there, or the record is to tell whether it is.
    pub(super) fn admits(&self, key: Key) -> bool {
        !self.breaker.is_open() || self.trial == Some(key)
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

    /// Takes the next waiting record to try the dependency with.
    pub(super) fn next_trial(&mut self) -> Option<Key> {
        self.trial = self.waiting.pop_front();
        self.trial
    }

    /// Whether this record was the one that tried the dependency; it is none any more.
    pub(super) fn ends_trial(&mut self, key: Key) -> bool {
        self.trial.take_if(|trial| *trial == key).is_some()
    }

    /// It has been looked for. Gives the records that may go on now, or how long to wait before the next look.
    pub(super) fn looked_for(&mut self, is_back: bool) -> Result<VecDeque<Key>, Duration> {
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
        let mut needs = Needs::new("postgresql", "kafka");
        assert!(needs.of(Stage::GiveUp).trip("away").is_some());
        assert!(!needs.bars_attempts() && needs.of(Stage::Attempt).admits(key(1)));
        assert!(!needs.of(Stage::GiveUp).admits(key(1)));
        assert!(needs.can_be_probed(Stage::Attempt) && !needs.can_be_probed(Stage::GiveUp));
        let mut shared = Needs::new("postgresql", "postgresql");
        assert!(shared.of(Stage::GiveUp).trip("away").is_some());
        assert!(shared.bars_attempts() && shared.can_be_probed(Stage::GiveUp));
    }

    #[test]
    fn one_record_tries_the_dependency_and_the_others_follow_it() {
        let mut needs = Needs::new("postgresql", "kafka");
        let need = needs.of(Stage::GiveUp);
        need.trip("away");
        for offset in 1..=3 {
            need.wait(key(offset));
        }
        assert_eq!(need.next_trial(), Some(key(1)));
        assert!(need.admits(key(1)) && !need.admits(key(2)));
        assert!(!need.ends_trial(key(2)) && need.ends_trial(key(1)));
        need.wait(key(1));
        assert!(need.looked_for(false).is_err() && !need.admits(key(1)));
        assert_eq!(need.looked_for(true).map(Vec::from), Ok(vec![key(2), key(3), key(1)]));
        assert!(need.admits(key(2)));
    }

    #[test]
    fn records_of_a_revoked_partition_wait_no_more() {
        let mut needs = Needs::new("postgresql", "kafka");
        for stage in [Stage::Attempt, Stage::GiveUp] {
            needs.of(stage).trip("away");
            needs.of(stage).wait(key(1));
            needs.of(stage).wait(key(2));
        }
        needs.retain(|key| key.offset == 2);
        for stage in [Stage::Attempt, Stage::GiveUp] {
            assert_eq!(needs.of(stage).looked_for(true).map(Vec::from), Ok(vec![key(2)]));
        }
    }

    proptest! {
        /// Whatever fails, is looked for and is revoked in whatever order: a record that waits is let go exactly once,
        /// and nobody waits while the dependency is there.
        #[test]
        fn every_record_that_waits_is_let_go_once(steps in proptest::collection::vec((0usize..4, 0i64..20), 1..200)) {
            let mut need = Need::new("kafka");
            let (mut waiting, mut looks) = (std::collections::BTreeSet::new(), 0);
            for (step, offset) in steps {
                match step {
                    0 => looks += u32::from(need.trip("away").is_some()),
                    1 if !need.admits(key(offset)) && waiting.insert(offset) => need.wait(key(offset)),
                    2 | 3 if looks > 0 => {
                        let trial = need.next_trial();
                        if let Some(trial) = trial {
                            prop_assert!(waiting.contains(&trial.offset) && need.admits(trial));
                            prop_assert!(need.ends_trial(trial) && !need.ends_trial(trial));
                            if step == 2 {
                                need.wait(trial);
                            } else {
                                waiting.remove(&trial.offset);
                            }
                        }
                        match need.looked_for(step == 3) {
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
                prop_assert!(waiting.is_empty() || looks == 1, "somebody waits and nobody looks");
            }
        }
    }
}
