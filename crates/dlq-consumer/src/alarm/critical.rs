//! The lines that begin with `[CRITICAL]`, or with `[WARNING]` where the alarm is one. They name the numbers to look up, never a
//! member, whatever the settings say.

use std::sync::OnceLock;

use coupon_core::{
    event::CouponIssued,
    failure::Failure,
    repo::alarms::{AlarmGroup, Claim},
};

use super::{
    mask::{Mask, cut},
    severity::Severity,
    wording::{counted, look_closer},
};

/// The name of the installation, once the settings are read: all lines of a process carry the same.
static INSTALLATION: OnceLock<String> = OnceLock::new();

/// From now on the lines carry this name; empty: none.
pub fn of_installation(name: &str) {
    if !name.is_empty() {
        // A second alarm sender of the same process has the same settings.
        let _ = INSTALLATION.set(name.to_owned());
    }
}

/// The name that the lines carry as a field; `None`: the settings give none.
pub fn installation() -> Option<&'static str> {
    INSTALLATION.get().map(String::as_str)
}

/// Most characters of an error in a line.
const MAX_ERROR_CHARACTERS: usize = 1_000;

/// Says at once, after the commit, that a request was given up.
pub fn given_up(event: &CouponIssued, failure: &Failure, failed_issue_id: i64) {
    let mask = Mask::of_member(event.member_id.as_str());
    let error_message = cut(&mask.shown(&failure.message), MAX_ERROR_CHARACTERS);
    tracing::error!(
        request_id = %event.request_id,
        coupon = event.coupon_code.as_str(),
        failed_issue_id,
        installation = installation(),
        severity = Severity::Critical.as_str(),
        cause = mask.shown(&failure.cause()),
        "[CRITICAL] request given up, its unit goes back: look with `dlq-consumer show E{failed_issue_id}`: {error_message}",
    );
}

/// Logs what an alarm says of a cause.
pub fn log_alarm(claim: &Claim, group: &AlarmGroup) {
    if let Some(letters) = &group.letters {
        let mask = Mask::of_letter(&letters.sample);
        let command = look_closer(&letters.sample);
        let error_message = cut(&mask.shown(&letters.sample.error_message), MAX_ERROR_CHARACTERS);
        let severity = Severity::of_letters(letters).as_str();
        tracing::error!(
            coupon = letters.sample.coupon_code.as_deref().unwrap_or("-"),
            letter_id = letters.sample.id,
            count = letters.ids.len(),
            installation = installation(),
            severity,
            cause = mask.shown(&claim.cause),
            "[{severity}] {}: look with `{command}`: {error_message}",
            counted(&letters.by_status)
        );
    } else if let Some(notice) = &group.notice {
        let coupon = notice.coupon_code.as_deref().unwrap_or("-");
        let severity = Severity::of_notice(&notice.cause).as_str();
        tracing::error!(
            coupon,
            cause = notice.cause,
            installation = installation(),
            severity,
            "[{severity}] {}: run `{}`",
            notice.message,
            notice.command
        );
    }
}

/// Logs that an alarm cannot be sent because putting it into words panics, which is a fault of ours.
pub fn unspeakable(claim: &Claim) {
    tracing::error!(
        cause_characters = claim.cause.chars().count(),
        installation = installation(),
        "[CRITICAL] an alarm cannot be put into words, and is tried again: look with `dlq-consumer stats` and `dlq-consumer list`"
    );
}
