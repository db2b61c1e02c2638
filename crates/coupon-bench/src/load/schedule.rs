//! The schedule of a load: when each request is due.

/// Planned moments in ns from the start of the run, in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    planned: Vec<Planned>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Planned {
    at_ns: u64,
    is_burst: bool,
}

const SECOND: f64 = 1e9;

impl Schedule {
    /// All at the start: each connection sends its next request as soon as it is free.
    pub fn at_once(count: usize) -> Self {
        Self { planned: vec![Planned { at_ns: 0, is_burst: false }; count] }
    }

    /// `rate` requests a second, evenly spread over `seconds`.
    pub fn steady(rate: f64, seconds: f64) -> Self {
        Self { planned: spread(rate, 0.0, seconds, false) }
    }

    /// The same with `count` more, evenly spread over one second that begins at second `start`.
    #[must_use]
    pub fn with_burst(mut self, start: f64, count: u32) -> Self {
        self.planned.extend(spread(f64::from(count), start, 1.0, true));
        self.planned.sort_by_key(|planned| planned.at_ns);
        self
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.planned.len()
    }

    /// When request `index` is due, in ns from the start; none past the last one.
    pub fn due_ns(&self, index: usize) -> Option<u64> {
        self.planned.get(index).map(|planned| planned.at_ns)
    }

    /// Whether request `index` belongs to the burst.
    pub fn is_burst(&self, index: usize) -> bool {
        self.planned.get(index).is_some_and(|planned| planned.is_burst)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "plans are positive and far below 2^53 ns")]
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
fn spread(rate: f64, start: f64, seconds: f64, is_burst: bool) -> Vec<Planned> {
    let count = (rate * seconds).round() as usize;
    let at = |index: usize| Planned { at_ns: ((start + index as f64 / rate) * SECOND) as u64, is_burst };
    (0..count).map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_comes_on_top_of_the_rate_within_its_second() {
        let schedule = Schedule::steady(100.0, 4.0).with_burst(2.0, 1000);
        assert_eq!(schedule.len(), 1400);
        let within = |from: u64, to: u64| {
            schedule.planned.iter().filter(|planned| (from..to).contains(&(planned.at_ns / 1_000_000))).count()
        };
        assert_eq!(
            (within(0, 1000), within(1000, 2000), within(2000, 3000), within(3000, 4000)),
            (100, 100, 1100, 100)
        );
        // Spread, not all at the beginning of the second.
        assert_eq!(within(2500, 3000), 550);
        assert!(schedule.planned.is_sorted_by_key(|planned| planned.at_ns));
        assert_eq!((0..1400).filter(|index| schedule.is_burst(*index)).count(), 1000);
        assert_eq!(schedule.due_ns(1400), None);
    }
}
