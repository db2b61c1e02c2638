//! How bad an alarm is.

use coupon_core::{
    repo::{alarms::Letters, dlq_events::DlqEventStatus},
    writing::codes,
};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// A member has lost a coupon or waits for a decision, or a campaign accepts nothing.
    Critical,
    /// Records that no issuer-api wrote, and what was lost and is published again: somebody should look, and nobody has lost
    /// anything.
    Warning,
    /// What an earlier alarm was about is done.
    Ok,
    /// A test.
    Test,
}

impl Severity {
    /// The word in a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Warning => "WARNING",
            Self::Ok => "OK",
            Self::Test => "TEST",
        }
    }

    /// A campaign that accepts nothing, and data that differs, are somebody's coupons. What was published again is on its way to
    /// its members, and nobody has to do anything for them.
    pub fn of_notice(cause: &str) -> Self {
        if cause.starts_with("REQUEUED ") { Self::Warning } else { Self::Critical }
    }

    /// A request that was given up or is undecided is somebody's coupon. A record that cannot be read, or that carries the
    /// request id of somebody else, was written by no issuer-api and is nobody's.
    pub fn of_letters(letters: &Letters) -> Self {
        let is_foreign =
            letters.sample.error_code == codes::OTHER_MEMBER || letters.by_coupon.iter().all(|of| of.0.is_none());
        let is_a_coupon = |status: &DlqEventStatus| match status {
            DlqEventStatus::Compensated | DlqEventStatus::Held => true,
            DlqEventStatus::Parked => !is_foreign,
            _ => false,
        };
        let is_critical = letters.by_status.iter().any(|(status, _)| is_a_coupon(status));
        if is_critical { Self::Critical } else { Self::Warning }
    }
}
