//! The schedule of a load: when each request is due.

/// Planned moments in ns from the start of the run, in ascending order.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    planned_ns: Vec<u64>,
}

const SECOND: f64 = 1e9;

impl Schedule {
    /// All at the start: each connection sends its next request as soon as it is free.
    pub fn at_once(count: usize) -> Self {
        Self { planned_ns: vec![0; count] }
    }

    /// `rate` requests a second, evenly spread over `seconds`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "plans are positive and far below 2^53 ns"
    )]
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^53")]
    pub fn steady(rate: f64, seconds: f64) -> Self {
        let count = (rate * seconds).round() as usize;
        Self { planned_ns: (0..count).map(|index| (index as f64 / rate * SECOND) as u64).collect() }
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.planned_ns.len()
    }

    /// When request `index` is due, in ns from the start; none past the last one.
    pub fn due_ns(&self, index: usize) -> Option<u64> {
        self.planned_ns.get(index).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_spread_over_its_whole_time() {
        let schedule = Schedule::steady(100.0, 4.0);
        assert_eq!((schedule.len(), schedule.due_ns(0), schedule.due_ns(400)), (400, Some(0), None));
        assert_eq!([100, 250, 399].map(|index| schedule.due_ns(index).unwrap() / 1_000_000), [1000, 2500, 3990]);
    }
}
