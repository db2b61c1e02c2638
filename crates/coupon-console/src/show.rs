//! How values look on a page.

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::repo::overview::MAX_COUNT;

/// Returns a time in UTC to the second: `2026-11-28 17:54:20`.
pub(crate) fn when(at: &DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns a time in UTC to the second, or a dash.
pub(crate) fn when_any(at: &Option<DateTime<Utc>>) -> String {
    at.as_ref().map_or_else(|| "–".to_owned(), when)
}

/// Returns a time as RFC 3339, for programs.
pub(crate) fn rfc3339(at: &DateTime<Utc>) -> String {
    at.to_rfc3339()
}

/// Returns how long ago something was, in its largest unit: `3 min`.
pub(crate) fn ago(at: &DateTime<Utc>, now: &DateTime<Utc>) -> String {
    span(*now - *at)
}

/// Returns a span of time in its largest unit: `45 s`, `3 min`, `7 h`, `12 d`.
pub(crate) fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Returns a number with a comma every three digits: `1,000,000`.
pub(crate) fn number(number: &i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if *number < 0 {
        grouped.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a number that was counted up to [`MAX_COUNT`]: `12,345`, or `over 100,000`.
pub(crate) fn counted(count: &i64) -> String {
    if *count > MAX_COUNT { format!("over {}", number(&MAX_COUNT)) } else { number(count) }
}

/// Returns the points of a sparkline in a view box of 120 by 24: the first value at the left, the largest at the top.
pub(crate) fn points(values: &[i64]) -> String {
    let last = i64::try_from(values.len().saturating_sub(1)).unwrap_or(i64::MAX).max(1);
    let largest = values.iter().copied().max().unwrap_or(0).max(1);
    let point = |(index, value): (i64, &i64)| format!("{},{}", index * 120 / last, 23 - value.max(&0) * 22 / largest);
    (0..).zip(values).map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_spans_are_read_at_a_glance() {
        assert_eq!([0, 999, 1_000, -1_234_567].map(|value| number(&value)), ["0", "999", "1,000", "-1,234,567"]);
        assert_eq!(
            [5, 180, 7_200, 900_000].map(|seconds| span(TimeDelta::seconds(seconds))),
            ["5 s", "3 min", "2 h", "10 d"]
        );
    }

    #[test]
    fn a_sparkline_stays_inside_its_box_whatever_it_shows() {
        assert_eq!(points(&[0, 10, 5]), "0,23 60,1 120,12");
        assert_eq!((points(&[]).as_str(), points(&[7]).as_str()), ("", "0,1"));
        assert_eq!((counted(&100_000), counted(&100_001)), ("100,000".to_owned(), "over 100,000".to_owned()));
    }
}
