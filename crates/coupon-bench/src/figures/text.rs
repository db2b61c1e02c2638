//! Figures as text: a value with its unit, and its goal.

use indicatif::HumanCount;

use super::{Goal, Unit};
use crate::measure::spread::time;

impl Unit {
    /// Returns a value of this unit as text, such as `71.2 %` for the ratio 0.712.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{:.1} %", value * 100.0),
            Self::Times => format!("{value:.2} ×"),
            Self::PerSecond => format!("{}/s", rate(value)),
            Self::Ms => time(value),
            // The goal is 10 µs, so that a tenth is worth its place.
            Self::Us if value < 1000.0 => format!("{value:.1} µs"),
            Self::Us => time(value / 1000.0),
            Self::MiB => format!("{value:.1} MiB"),
            Self::Bytes => format!("{value:.0} B"),
            Self::Instructions => whole(value),
            Self::Count if value.fract() == 0.0 => whole(value),
            Self::Count => format!("{value:.1}"),
        }
    }
}

impl Goal {
    /// Returns the goal as text, such as `≥ 70 %`.
    pub fn text(self, unit: Unit) -> String {
        let (sign, value) = match self {
            Self::AtLeast(least) => ('≥', least),
            Self::AtMost(most) => ('≤', most),
        };
        // A goal is a round number.
        format!("{sign} {}", unit.text(value).replace(".0 ", " "))
    }
}

/// Three digits of it, or whole below a thousand, where a tenth counts below ten.
fn rate(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.1} ")
    } else if value < 1000.0 {
        format!("{value:.0} ")
    } else if value < 100_000.0 {
        format!("{:.1} k", value / 1e3)
    } else if value < 1e6 {
        format!("{:.0} k", value / 1e3)
    } else {
        format!("{:.2} M", value / 1e6)
    }
}

/// Returns a whole number with commas between the thousands.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; counts are neither so large nor negative"
)]
pub fn whole(value: f64) -> String {
    HumanCount(value.round() as u64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_is_shown_as_it_reads_best() {
        for (unit, value, text) in [
            (Unit::Ratio, 0.712, "71.2 %"),
            (Unit::Times, 1.7, "1.70 ×"),
            (Unit::PerSecond, 1.25, "1.2 /s"),
            (Unit::PerSecond, 612.4, "612 /s"),
            (Unit::PerSecond, 12_345.0, "12.3 k/s"),
            (Unit::PerSecond, 123_456.0, "123 k/s"),
            (Unit::PerSecond, 2_500_000.0, "2.50 M/s"),
            (Unit::Ms, 0.25, "250 µs"),
            (Unit::Ms, 48.26, "48.3 ms"),
            (Unit::Us, 9.96, "10.0 µs"),
            (Unit::Us, 1500.0, "1.5 ms"),
            (Unit::MiB, 29.25, "29.2 MiB"),
            (Unit::Bytes, 116.4, "116 B"),
            (Unit::Instructions, 12_345.4, "12,345"),
            (Unit::Count, 500.0, "500"),
            (Unit::Count, 12.25, "12.2"),
        ] {
            assert_eq!(unit.text(value), text);
        }
    }

    #[test]
    fn a_goal_is_shown_with_its_direction_and_without_needless_digits() {
        assert_eq!(Goal::AtLeast(0.7).text(Unit::Ratio), "≥ 70 %");
        assert_eq!(Goal::AtMost(10.0).text(Unit::Us), "≤ 10 µs");
        assert_eq!(Goal::AtMost(1.1).text(Unit::Times), "≤ 1.10 ×");
        assert_eq!(Goal::AtMost(50.0).text(Unit::Ms), "≤ 50 ms");
        assert_eq!(Goal::AtMost(1.0).text(Unit::PerSecond), "≤ 1 /s");
    }
}
