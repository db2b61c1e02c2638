//! Alarms in the log: lines that begin with `[CRITICAL]` or `[WARNING]`. They give the numbers of dead letters and of entries
//! of the work list, and never a member, also where `alarms.mask_members` is off.

use std::{collections::HashMap, sync::OnceLock, time::Duration};

use coupon_core::{
    event::CouponIssued,
    failure::Failure,
    repo::alarms::{AlarmGroup, Claim},
};
use tokio::time::Instant;

use super::{
    classify::Severity,
    compose::counted,
    mask::{Mask, cut},
    round::Round,
    view::Alarm,
};

/// Most characters of an error in a line.
const MAX_ERROR_CHARACTERS: usize = 1_000;
/// Causes remembered as logged; above this number all are forgotten, and an unsent one is logged again.
const MAX_REMEMBERED_CAUSES: usize = 1_000;

/// Name of the installation, set once the settings are read: all lines of a process carry it.
static INSTALLATION: OnceLock<String> = OnceLock::new();

/// Sets the name of the installation that the lines carry from now on; empty: none.
pub fn set_installation(name: &str) {
    if !name.is_empty() {
        // A second alarm sender of the same process has the same settings.
        let _ = INSTALLATION.set(name.to_owned());
    }
}

/// Returns the name of the installation, a field of each line; `None`: the settings give none.
pub fn installation() -> Option<&'static str> {
    INSTALLATION.get().map(String::as_str)
}

/// Logs that a request is compensated, right after the commit and before the alarm is sent.
pub fn log_compensated(event: &CouponIssued, failure: &Failure, failed_issue_id: i64) {
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

/// Logs that an alarm cannot be sent because composing it panics, which is a fault of ours.
pub fn log_not_composed(claim: &Claim) {
    tracing::error!(
        cause_characters = claim.cause.chars().count(),
        installation = installation(),
        "[CRITICAL] an alarm cannot be composed, and is tried again: look with `dlq-consumer stats` and `dlq-consumer list`"
    );
}

fn log_alarm(alarm: &Alarm) {
    let (severity, command, cause) = (alarm.severity.as_str(), &alarm.command, &alarm.cause);
    if let Some(dead_letter) = &alarm.letter {
        tracing::error!(
            coupon = dead_letter.coupon.as_deref().unwrap_or("-"),
            letter_id = dead_letter.id,
            count = alarm.count,
            installation = installation(),
            severity,
            cause,
            "[{severity}] {}: look with `{command}`: {}",
            counted(&alarm.by_status),
            cut(&dead_letter.error, MAX_ERROR_CHARACTERS)
        );
    } else {
        let coupon = alarm.by_coupon.first().map_or("-", |of| &of.coupon);
        tracing::error!(
            coupon,
            cause,
            installation = installation(),
            severity,
            "[{severity}] {}: run `{command}`",
            alarm.headline
        );
    }
}

/// What this process has logged of alarms, so that it logs nothing twice.
#[derive(Default)]
pub struct Logged {
    /// The highest ids of a dead letter and of a notice that were logged of each cause.
    causes: HashMap<String, (i64, i64)>,
    /// When this process last logged that no channel takes alarms.
    undelivered: Option<Instant>,
}

impl Logged {
    /// Logs the alarm of a cause, in which members are masked, unless all of it was logged when it could not be sent.
    pub fn log_once(&mut self, claim: &Claim, group: &AlarmGroup, masked: &Alarm) {
        if self.causes.len() >= MAX_REMEMBERED_CAUSES {
            self.causes.clear();
        }
        let dead_letter = group.dlq_events.as_ref().and_then(|events| events.ids.last().copied()).unwrap_or(0);
        let notice = group.notice.as_ref().map_or(0, |notice| notice.id);
        let known = self.causes.entry(claim.cause.clone()).or_default();
        if dead_letter > known.0 || notice > known.1 {
            *known = (dead_letter.max(known.0), notice.max(known.1));
            log_alarm(masked);
        }
    }

    /// Notes that the alarm of a cause is sent. A cause is remembered only while it is unsent: an alarm that is sent anew,
    /// because a dead letter has another status, is logged anew.
    pub fn note_sent(&mut self, cause: &str) {
        self.causes.remove(cause);
    }

    /// Logs, once in `digest` while all channels are down, that `unsent` dead letters and notices are not delivered.
    pub fn log_undelivered(&mut self, unsent: i64, round: &Round<'_>, digest: Duration) {
        let is_news = self.undelivered.is_none_or(|at| at.elapsed() >= digest);
        if let Some((since, errors)) = round.all_down().filter(|_| unsent > 0 && is_news) {
            self.undelivered = Some(Instant::now());
            tracing::error!(
                count = unsent,
                installation = installation(),
                "[CRITICAL] {unsent} alarms cannot be delivered anywhere since {}: {errors}",
                since.to_rfc3339()
            );
        }
    }
}
