//! Log lines that may come once for each request: the first ones at once, then so many a minute with the count.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Shortest time between two lines of the same key.
const QUIET: Duration = Duration::from_mins(1);
/// Most keys that are told apart; what comes beyond shares one line a minute. A key may come from the words of a server.
const MOST_KEYS: usize = 256;

/// Admits one log line per key and minute, or a few. Meant for a `static` beside the line.
#[derive(Debug)]
pub struct Throttle {
    lines: Mutex<BTreeMap<String, Line>>,
    a_minute: u32,
}

#[derive(Debug)]
struct Line {
    /// When the first line of this minute came.
    at: Instant,
    /// Lines logged in this minute.
    said: u32,
    /// Occurrences since the last line.
    unlogged: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// One line of a key a minute.
    pub const fn new() -> Self {
        Self::of(1)
    }

    /// `a_minute` lines of a key a minute.
    pub const fn of(a_minute: u32) -> Self {
        Self { lines: Mutex::new(BTreeMap::new()), a_minute }
    }

    /// Counts one occurrence. `Some(count)` when a line is due now: the number of occurrences it stands for, this one and
    /// those since the last line. Occurrences after the last line of a burst are counted by the first line of the next one.
    pub fn admit(&self, key: &str) -> Option<u64> {
        self.admit_at(key, Instant::now())
    }

    fn admit_at(&self, key: &str, now: Instant) -> Option<u64> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if lines.len() < MOST_KEYS || lines.contains_key(key) { key } else { "" };
        let Some(line) = lines.get_mut(key) else {
            lines.insert(key.to_owned(), Line { at: now, said: 1, unlogged: 0 });
            return Some(1);
        };
        line.unlogged += 1;
        if now.duration_since(line.at) >= QUIET {
            (line.at, line.said) = (now, 0);
        }
        if line.said >= self.a_minute {
            return None;
        }
        line.said += 1;
        Some(std::mem::take(&mut line.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_comes_at_once_and_then_one_a_minute_with_the_count() {
        let (throttle, now) = (Throttle::new(), Instant::now());
        assert_eq!(throttle.admit_at("REDIS_NOPERM", now), Some(1));
        for _ in 0..2_000 {
            assert_eq!(throttle.admit_at("REDIS_NOPERM", now + Duration::from_secs(59)), None);
        }
        assert_eq!(throttle.admit_at("REDIS_REPLY", now), Some(1), "another error is another line");
        assert_eq!(throttle.admit_at("REDIS_NOPERM", now + QUIET), Some(2_001));
        assert_eq!(throttle.admit_at("REDIS_NOPERM", now + QUIET), None);
    }

    #[test]
    fn of_some_lines_as_many_a_minute_are_admitted_and_the_next_one_counts_those_left_out() {
        let (throttle, now) = (Throttle::of(100), Instant::now());
        let admitted = (0..250).filter(|_| throttle.admit_at("DATABASE_UNAVAILABLE", now) == Some(1)).count();
        assert_eq!(admitted, 100);
        assert_eq!(throttle.admit_at("INTERNAL", now), Some(1), "another code has lines of its own");
        assert_eq!(throttle.admit_at("DATABASE_UNAVAILABLE", now + QUIET), Some(151));
        assert_eq!(throttle.admit_at("DATABASE_UNAVAILABLE", now + QUIET), Some(1));
    }

    #[test]
    fn the_keys_do_not_grow_with_the_inventions_of_a_server() {
        let throttle = Throttle::new();
        let lines = (0..10 * MOST_KEYS).filter(|key| throttle.admit(&key.to_string()).is_some()).count();
        assert_eq!(lines, MOST_KEYS + 1);
    }
}
