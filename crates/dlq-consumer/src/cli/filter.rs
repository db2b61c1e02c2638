//! The words by which operators choose rows, the same for every verb.

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use coupon_core::{
    failure::Class,
    ids::{CouponCode, MemberId},
    repo::filter::Filter,
};

/// A choice of rows.
#[derive(Clone, Debug, Default, Args)]
pub struct FilterArgs {
    /// Only this coupon
    #[arg(long, value_name = "CODE")]
    pub coupon: Option<CouponCode>,
    /// Only this member
    #[arg(long, value_name = "ID")]
    pub member: Option<MemberId>,
    /// Only causes that hold this text, whatever the case
    #[arg(long, value_name = "TEXT")]
    pub cause: Option<String>,
    /// Only this error class, such as UNKNOWN or PERMANENT
    #[arg(long, value_name = "CLASS")]
    pub class: Option<Class>,
    /// Not older than this: RFC 3339, or a time back such as 2h or 3d
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<DateTime<Utc>>,
    /// Older than this: RFC 3339, or a time back such as 30m
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<DateTime<Utc>>,
    /// No higher number than this: what comes later is not meant
    #[arg(long, value_name = "ID")]
    pub up_to: Option<i64>,
}

impl FilterArgs {
    /// The filter, of these numbers, or of all when there are none.
    pub fn filter(self, ids: Vec<i64>) -> Filter {
        Filter {
            ids,
            status: None,
            coupon: self.coupon,
            member: self.member,
            cause: self.cause,
            class: self.class.map(|class| class.as_str().to_owned()),
            since: self.since,
            until: self.until,
            up_to: self.up_to,
        }
    }
}

/// A moment: RFC 3339, or so long ago.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Some(back) = time_back(text) {
        return Ok(Utc::now() - back);
    }
    let time = DateTime::parse_from_rfc3339(text).map_err(|error| {
        format!("{error}; expected RFC 3339, such as 2026-05-01T09:00:00+09:00, or a time back such as 2h")
    })?;
    Ok(time.to_utc())
}

fn time_back(text: &str) -> Option<TimeDelta> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|number| *number >= 0)?;
    match unit {
        "s" => TimeDelta::try_seconds(number),
        "m" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_ago_and_anything_else_is_refused_with_an_example() {
        assert!(moment("2026-05-01T09:00:00+09:00").is_ok());
        for (text, seconds) in [("90s", 90), ("2h", 7200), ("3d", 259_200), ("0m", 0)] {
            let back = (Utc::now() - moment(text).unwrap()).num_seconds();
            assert!((seconds..seconds + 60).contains(&back), "{text}: {back}");
        }
        for text in ["", "h", "-2h", "yesterday", "5", "é", "99999999999999999d"] {
            assert!(moment(text).unwrap_err().contains("such as"), "{text}");
        }
    }
}
