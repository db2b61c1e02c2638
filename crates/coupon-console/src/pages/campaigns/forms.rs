//! The forms of what is done with a campaign, and their bounds: those of the command line.

use chrono::{DateTime, NaiveDateTime, Utc};
use coupon_core::{ids::CouponCode, repo::coupons::NewWindow};
use coupon_operations::campaigns::{CreateCampaign, MAX_TOTAL, MAX_VALID_DAYS};
use serde::Deserialize;

use crate::answer::Failure;

/// Days that a coupon is valid, unless it is said.
const VALID_DAYS: i32 = 30;

/// The form of a new campaign.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct New {
    code: CouponCode,
    total: i64,
    opens_at: Option<String>,
    closes_at: Option<String>,
    valid_days: Option<i32>,
    /// `required`: only with a token of the waiting room; `off`, or absent.
    admission: Option<String>,
    pub(super) reason: String,
}

/// The form of a change of the admission.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Admission {
    /// `required`: only with a token of the waiting room; `off`.
    admission: String,
    pub(super) reason: String,
}

/// The form of a change that needs nothing but a reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Why {
    pub(super) reason: String,
}

/// The form of a new total.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Total {
    total: i64,
    pub(super) reason: String,
}

/// The form of a new window; what is absent stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Window {
    opens_at: Option<String>,
    closes_at: Option<String>,
    /// Whether the campaign is open until it is closed by hand.
    #[serde(default)]
    no_closes_at: bool,
    valid_days: Option<i32>,
    pub(super) reason: String,
}

impl New {
    /// Returns what is to be created.
    pub(super) fn wanted(self, now: DateTime<Utc>) -> Result<CreateCampaign, Failure> {
        let Self { code, total, opens_at, closes_at, valid_days, admission, .. } = self;
        let admission_required = required(admission.as_deref().unwrap_or("off"))?;
        let (opens_at, closes_at) = (time("opens_at", opens_at)?, time("closes_at", closes_at)?);
        if closes_at.is_some_and(|closes_at| closes_at <= opens_at.unwrap_or(now)) {
            return Err(Failure::bad_input("closes_at has to be later than opens_at; nothing was created"));
        }
        let (total, valid_days) = (units(total)?, days(valid_days)?.unwrap_or(VALID_DAYS));
        Ok(CreateCampaign { code, total, opens_at, closes_at, valid_days, admission_required, if_absent: false })
    }
}

impl Total {
    /// Returns the new total.
    pub(super) fn wanted(&self) -> Result<i64, Failure> {
        units(self.total)
    }
}

impl Window {
    /// Returns the change of the window.
    pub(super) fn wanted(self) -> Result<NewWindow, Failure> {
        let Self { opens_at, closes_at, no_closes_at, valid_days, .. } = self;
        let closes_at = match time("closes_at", closes_at)? {
            Some(_) if no_closes_at => {
                return Err(Failure::bad_input("closes_at and no_closes_at exclude each other; nothing was changed"));
            }
            Some(at) => Some(Some(at)),
            None => no_closes_at.then_some(None),
        };
        let new = NewWindow { opens_at: time("opens_at", opens_at)?, closes_at, valid_days: days(valid_days)? };
        if new.opens_at.is_none() && new.closes_at.is_none() && new.valid_days.is_none() {
            return Err(Failure::bad_input("say what is to change: opens_at, closes_at, no_closes_at or valid_days"));
        }
        Ok(new)
    }
}

impl Admission {
    /// Whether admission is to be required.
    pub(super) fn wanted(&self) -> Result<bool, Failure> {
        required(&self.admission)
    }
}

fn required(admission: &str) -> Result<bool, Failure> {
    match admission {
        "required" => Ok(true),
        "off" => Ok(false),
        _ => Err(Failure::bad_input("admission: it is required, or off")),
    }
}

fn units(total: i64) -> Result<i64, Failure> {
    let is_right = (0..=MAX_TOTAL).contains(&total);
    is_right
        .then_some(total)
        .ok_or_else(|| Failure::bad_input(format!("total has to be a whole number from 0 to {MAX_TOTAL}")))
}

fn days(days: Option<i32>) -> Result<Option<i32>, Failure> {
    let is_right = days.is_none_or(|days| (1..=MAX_VALID_DAYS).contains(&days));
    is_right
        .then_some(days)
        .ok_or_else(|| Failure::bad_input(format!("valid_days has to be a whole number from 1 to {MAX_VALID_DAYS}")))
}

/// Reads a time: RFC 3339, or what the field of a browser gives, which is in UTC.
fn time(field: &str, text: Option<String>) -> Result<Option<DateTime<Utc>>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let local = |format| NaiveDateTime::parse_from_str(&text, format).map(|time| time.and_utc());
    let read = DateTime::parse_from_rfc3339(&text).map(|time| time.to_utc());
    let read = read.or_else(|_| local("%Y-%m-%dT%H:%M")).or_else(|_| local("%Y-%m-%dT%H:%M:%S"));
    let expected = "has to be a time such as 2026-05-01T09:00:00+09:00, or 2026-05-01T00:00 in UTC";
    read.map(Some).map_err(|_| Failure::bad_input(format!("{field} {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_programs_and_as_browsers_write_it() {
        let read = |text: &str| time("opens_at", Some(text.to_owned())).ok().flatten().map(|time| time.to_rfc3339());
        for text in ["2026-05-01T09:00:00+09:00", "2026-05-01T00:00", "2026-05-01T00:00:00"] {
            assert_eq!(read(text).as_deref(), Some("2026-05-01T00:00:00+00:00"), "{text}");
        }
        for wrong in ["tomorrow", "2026-05-01", "2026-13-01T00:00"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
