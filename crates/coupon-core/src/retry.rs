//! Retry schedules and back-off: when a failed record is attempted again.

use std::time::Duration;

/// A bounded number of attempts with waits between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetrySchedule {
    /// What is being retried, for logs.
    pub label: &'static str,
    /// Waits between the attempts; there is one attempt more than waits.
    pub waits: &'static [Duration],
}

/// issue-consumer: 4 attempts, waits 1 s, 2 s, 4 s (the first article's main consumer).
pub const WRITE: RetrySchedule =
    RetrySchedule { label: "write", waits: &[Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)] };

/// dlq-consumer: 3 attempts, waits 1 s, 2 s (the first article's `@Retryable(maxAttempts = 3)`).
pub const REPAIR: RetrySchedule =
    RetrySchedule { label: "repair", waits: &[Duration::from_secs(1), Duration::from_secs(2)] };

impl RetrySchedule {
    /// Attempts in all, the first included.
    pub fn max_attempts(&self) -> u32 {
        u32::try_from(self.waits.len()).unwrap_or(u32::MAX - 1) + 1
    }

    /// How long to wait after attempt number `attempt` (the first is 1) has failed; `None` when it was the last.
    pub fn wait_after(&self, attempt: u32) -> Option<Duration> {
        self.waits.get(usize::try_from(attempt).ok()?.checked_sub(1)?).copied()
    }
}

/// An unbounded wait that doubles from `first` to `longest`, with jitter: for dependencies that are away.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `first`, never waits longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next wait: between half and all of the current step, so that many processes do not return as one.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.longest);
        step.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Begins again with the first step.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// A wait between `least` and `least + spread`, so that clients that are sent away at once do not come back at once.
pub fn spread(least: Duration, spread: Duration) -> Duration {
    least + spread.mul_f64(rand::random_range(0.0..=1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_schedules_are_the_ones_the_articles_name() {
        let waits =
            |schedule: RetrySchedule| (1..=5).map(|n| schedule.wait_after(n).map(|w| w.as_secs())).collect::<Vec<_>>();
        assert_eq!(waits(WRITE), [Some(1), Some(2), Some(4), None, None]);
        assert_eq!((WRITE.max_attempts(), REPAIR.max_attempts()), (4, 3));
        assert_eq!(waits(REPAIR), [Some(1), Some(2), None, None, None]);
        assert_eq!(WRITE.wait_after(0), None);
    }

    #[test]
    fn a_backoff_doubles_with_jitter_up_to_its_limit_and_can_begin_again() {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(4));
        for step in [500, 1000, 2000, 4000, 4000] {
            let wait = backoff.next_wait().as_millis();
            assert!((step / 2..=step).contains(&wait), "{wait} of {step}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(500));
    }

    proptest! {
        /// Every attempt but the last is followed by its own wait, and none after the last, whatever number is asked.
        #[test]
        fn there_is_one_attempt_more_than_waits(seconds in proptest::collection::vec(0u64..100, 0..10), asked in any::<u32>()) {
            let waits: Vec<Duration> = seconds.iter().copied().map(Duration::from_secs).collect();
            let schedule = RetrySchedule { label: "any", waits: waits.clone().leak() };
            let max = schedule.max_attempts();
            let found: Vec<Duration> = (1..max).filter_map(|attempt| schedule.wait_after(attempt)).collect();
            prop_assert_eq!(found, waits);
            prop_assert_eq!(schedule.wait_after(max), None);
            prop_assert!(asked < max || schedule.wait_after(asked).is_none());
        }

        /// A back-off waits between half a step and a step, and no step is above the longest.
        #[test]
        fn a_backoff_stays_within_its_steps(first in 1u64..5_000, longest in 1u64..60_000, resets in proptest::collection::vec(any::<bool>(), 1..50)) {
            let mut backoff = Backoff::new(Duration::from_millis(first), Duration::from_millis(longest));
            let mut step = Duration::from_millis(first);
            for reset in resets {
                if reset {
                    backoff.reset();
                    step = Duration::from_millis(first);
                }
                let wait = backoff.next_wait();
                // One nanosecond for the rounding.
                let twice = wait * 2 + Duration::from_nanos(1);
                prop_assert!(twice >= step && wait <= step, "{wait:?} of {step:?}");
                step = (step * 2).min(Duration::from_millis(longest));
            }
        }
    }
}
