//! Figures over rounds: the median, and how far the rounds lay apart.

/// One figure of several rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The median; of an even number of rounds the mean of the two in the middle.
    pub median: f64,
    /// Lowest value of all rounds.
    pub least: f64,
    /// Highest value of all rounds.
    pub most: f64,
}

impl Spread {
    /// The figures of all rounds in any order; none without a round.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { median, least, most })
    }

    /// Returns the median and the spread as text, such as `8.1 s (7.9 s – 8.4 s)`; a single round has no spread.
    pub fn text(&self, unit: impl Fn(f64) -> String) -> String {
        let (median, least, most) = (unit(self.median), unit(self.least), unit(self.most));
        if least == most { median } else { format!("{median} ({least} – {most})") }
    }
}

/// Converts a count to a float.
#[expect(clippy::cast_precision_loss, reason = "nothing that is counted here comes near 2^53")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// CPU time for each of `count`, in µs.
pub fn each_us(cpu_ms: u64, count: u64) -> f64 {
    as_f64(cpu_ms) * 1000.0 / as_f64(count.max(1))
}

/// A time given in ms, in the unit that reads best.
pub fn time(ms: f64) -> String {
    if ms < 1.0 {
        format!("{:.0} µs", ms * 1000.0)
    } else if ms < 1000.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_spread_reaches_both_ends() {
        let odd = Spread::of([9.0, 1.0, 2.0]);
        assert_eq!(odd, Some(Spread { median: 2.0, least: 1.0, most: 9.0 }));
        let even = Spread::of([4.0, 1.0, 2.0, 9.0]);
        assert_eq!(even, Some(Spread { median: 3.0, least: 1.0, most: 9.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn cpu_time_is_shared_out_in_microseconds() {
        assert!((each_us(500, 50_000) - 10.0).abs() < 1e-9);
        assert!((each_us(3, 0) - 3000.0).abs() < 1e-9);
    }

    #[test]
    fn a_figure_is_shown_with_its_spread_unless_there_is_none() {
        let spread = Spread { median: 8100.0, least: 900.0, most: 8449.0 };
        assert_eq!(spread.text(time), "8.10 s (900.0 ms – 8.45 s)");
        assert_eq!(Spread { median: 0.25, least: 0.25, most: 0.25 }.text(time), "250 µs");
    }
}
