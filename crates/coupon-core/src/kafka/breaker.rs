//! Whether the dependency that records need is there. While it is not, nothing is tried and no attempt is charged.

use std::time::Duration;

use crate::retry::Backoff;

/// A circuit breaker: closed while the dependency answers, open from the first failure that says it does not, until
/// a probe has succeeded.
#[derive(Debug)]
pub struct Breaker {
    open: bool,
    backoff: Backoff,
}

impl Default for Breaker {
    /// Probes after 0.5 s, 1 s, 2 s, then every 4 s, each with jitter (DESIGN: work resumes within 10 s of recovery).
    fn default() -> Self {
        Self { open: false, backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(4)) }
    }
}

impl Breaker {
    /// Whether nothing may be tried now.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// The dependency is away. Gives the wait until the first probe, or `None` when it was open already.
    pub fn trip(&mut self) -> Option<Duration> {
        if self.open {
            return None;
        }
        self.open = true;
        Some(self.backoff.next_wait())
    }

    /// A probe has come back. Gives the wait until the next one; `None` closes the breaker.
    pub fn probed(&mut self, succeeded: bool) -> Option<Duration> {
        if succeeded {
            self.open = false;
            return None;
        }
        Some(self.backoff.next_wait())
    }

    /// Work that uses the dependency has succeeded. A probe that succeeds where the work still fails does not make the
    /// waits short again, or the breaker would flap.
    pub fn record_success(&mut self) {
        if !self.open {
            self.backoff.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_opens_once_and_closes_only_by_a_probe_that_succeeds() {
        let mut breaker = Breaker::default();
        assert!(breaker.trip().is_some() && breaker.is_open());
        assert_eq!(breaker.trip(), None, "one probe is under way, not one for each failure");
        assert!(breaker.probed(false).is_some() && breaker.is_open());
        assert!(breaker.probed(true).is_none() && !breaker.is_open());
        assert!(breaker.trip().is_some_and(|wait| wait >= Duration::from_secs(1)), "nothing has worked since");
        breaker.record_success();
        assert!(breaker.probed(true).is_none());
        breaker.record_success();
        assert!(breaker.trip().is_some_and(|wait| wait <= Duration::from_millis(500)), "begins anew");
    }

    proptest! {
        /// Whatever the order of failures and probes: it is open from the first failure to the next probe that
        /// succeeds, one probe is under way while it is open and none otherwise, and no wait is above 4 s.
        #[test]
        fn one_probe_is_under_way_while_it_is_open_and_none_otherwise(
            steps in proptest::collection::vec((any::<bool>(), any::<bool>()), 1..200),
        ) {
            let (mut breaker, mut is_open, mut probes) = (Breaker::default(), false, 0);
            for (is_failure, succeeds) in steps {
                let wait = if is_failure {
                    let wait = breaker.trip();
                    prop_assert_eq!(wait.is_some(), !is_open);
                    is_open = true;
                    wait
                } else if probes > 0 {
                    probes -= 1;
                    is_open = !succeeds;
                    breaker.probed(succeeds)
                } else {
                    continue;
                };
                probes += u32::from(wait.is_some());
                prop_assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(4)));
                prop_assert_eq!(breaker.is_open(), is_open);
                prop_assert_eq!(probes, u32::from(is_open));
            }
        }
    }
}
