//! Spaces the retries of all calls of a client, so that they are a bounded share of its first tries.

use std::time::{Duration, Instant};

/// Interval over which first tries are counted. On a busy machine those of seconds come at once, which over one second would look like
/// a multiple of their rate, for a minute.
const WINDOW: Duration = Duration::from_secs(10);
/// Time after which half of a rate is forgotten that has not been reached again.
const HALF_LIFE: Duration = Duration::from_mins(1);
/// Retries a second that a client may always make: a client that hardly asks must not wait for minutes.
const LEAST_RETRIES: f64 = 10.0;

/// The pace of the retries of one client.
#[derive(Debug)]
pub(crate) struct Pace {
    /// First tries a second: the most of late.
    rate: f64,
    window: Instant,
    /// First tries in the window.
    count: u32,
    /// When the next retry may be made.
    next: Instant,
}

impl Pace {
    /// Of a client that has not asked yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self { rate: 0.0, window: now, count: 0, next: now }
    }

    /// Counts a first try.
    pub(crate) fn first_try(&mut self, now: Instant) {
        self.close_window(now);
        self.count = self.count.saturating_add(1);
    }

    /// Takes the next place for a retry and says when it is; `None`, and no place is taken, if that is after `end`.
    pub(crate) fn place(&mut self, now: Instant, end: Instant, share: f64) -> Option<Instant> {
        self.close_window(now);
        let at = self.next.max(now);
        if at > end {
            return None;
        }
        // The open window counts as if it were over, so that the beginning of a rush need not wait for its end.
        let rate = self.rate.max(f64::from(self.count) / WINDOW.as_secs_f64());
        self.next = at + Duration::from_secs_f64(1.0 / (rate * share).max(LEAST_RETRIES));
        Some(at)
    }

    /// What was reached counts for long, because the calls that wait ask nothing new meanwhile.
    fn close_window(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.window);
        if passed < WINDOW {
            return;
        }
        let seconds = passed.as_secs_f64();
        let kept = self.rate * 0.5_f64.powf(seconds / HALF_LIFE.as_secs_f64());
        self.rate = kept.max(f64::from(self.count) / seconds);
        (self.window, self.count) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places that are taken within a second by a crowd of waiting calls.
    fn places(pace: &mut Pace, from: Instant) -> usize {
        let end = from + Duration::from_secs(1);
        std::iter::from_fn(|| pace.place(from, end, 0.25)).take(100_000).count()
    }

    #[test]
    fn retries_are_a_share_of_the_first_tries() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for ms in 0..10_000 {
            pace.first_try(start + Duration::from_millis(ms));
        }
        let after = start + Duration::from_secs(10);
        let taken = places(&mut pace, after);
        assert!((240..=260).contains(&taken), "{taken} of 1000 a second");
        // Nobody asks anything new for a while: all wait.
        let taken = places(&mut pace, after + Duration::from_secs(30));
        assert!((150..=200).contains(&taken), "{taken} after half a half-life");
    }

    #[test]
    fn first_tries_that_come_at_once_after_a_standstill_are_no_higher_rate() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for ms in 0..20_000 {
            // The machine stands still from 8 s to 11 s.
            let at = if (8_000..11_000).contains(&ms) { 11_000 } else { ms };
            pace.first_try(start + Duration::from_millis(at));
        }
        let taken = places(&mut pace, start + Duration::from_secs(22));
        assert!((240..=330).contains(&taken), "{taken} of 1000 a second");
    }

    #[test]
    fn retries_at_the_beginning_of_a_rush_do_not_wait_for_the_end_of_the_window() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for ms in 0..2_000 {
            (0..5).for_each(|_| pace.first_try(start + Duration::from_millis(ms)));
        }
        let taken = places(&mut pace, start + Duration::from_secs(2));
        assert!((240..=260).contains(&taken), "{taken} after 10,000 first tries within 2 s");
    }

    #[test]
    fn a_client_that_hardly_asks_may_retry_ten_times_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.first_try(start);
        assert_eq!(pace.place(start, start, 0.25), Some(start), "the first retry is made at once");
        assert_eq!(places(&mut pace, start), 10);
    }

    #[test]
    fn a_place_after_the_end_is_not_taken() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert!(pace.place(start, start, 0.25).is_some());
        let next = pace.next;
        assert_eq!(pace.place(start, start, 0.25), None);
        assert_eq!(pace.next, next);
    }
}
