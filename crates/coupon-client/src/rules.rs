//! The numbers of the retry rules.

use std::time::Duration;

/// When, how often and how fast a client asks again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Longest time from the first try to the end of a call.
    pub deadline: Duration,
    /// Longest wait for the answer to one try. The API may take 6 s.
    pub try_timeout: Duration,
    /// Most that the random wait before the first retry takes; before each further one it is up to twice as long.
    pub first_backoff: Duration,
    /// Most that any random wait takes.
    pub max_backoff: Duration,
    /// Most retries of all calls of a client together, as a share of their first tries: 0.25 is one for four.
    pub retry_share: f64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            deadline: Duration::from_mins(1),
            try_timeout: Duration::from_secs(8),
            first_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(20),
            retry_share: 0.25,
        }
    }
}

impl Rules {
    /// The longest random wait before a retry: 500 ms, 1 s, 2 s, 4 s, … 20 s by default. The first one has the number 1.
    pub(crate) fn longest_wait(&self, retry: u32) -> Duration {
        let doubled = 2u32.saturating_pow(retry.saturating_sub(1));
        self.first_backoff.saturating_mul(doubled).min(self.max_backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let rules = Rules::default();
        let waits: Vec<u128> = (1..=8).map(|retry| rules.longest_wait(retry).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000]);
        assert_eq!(rules.longest_wait(u32::MAX), rules.max_backoff);
    }
}
