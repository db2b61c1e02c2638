//! Classifies alarms: their severity, the entry of the runbook that they link to, and whether an all-clear ends them. Anchors
//! are those of `deploy/README.md`.

use coupon_core::{
    repo::{alarms::UnsentDlqEvents, dlq_events::DlqEventStatus},
    signing,
    writing::codes,
};
use serde::Serialize;

/// Severity of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Severity {
    /// A member has lost a coupon or waits for a decision, or a campaign accepts nothing.
    Critical,
    /// A record that no issuer-api wrote, or a lost request that is published again: an operator should look at it by day,
    /// and no member has lost anything.
    Warning,
    /// All-clear of an earlier alarm.
    Ok,
    /// Test of a channel.
    Test,
}

impl Severity {
    /// Returns the text that messages and log lines carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Warning => "WARNING",
            Self::Ok => "OK",
            Self::Test => "TEST",
        }
    }
}

/// The class of an alarm.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Severity of the alarm.
    pub severity: Severity,
    /// Anchor of the entry in the runbook.
    pub anchor: &'static str,
    /// Whether an all-clear follows when nothing of the cause waits any more.
    pub has_end: bool,
}

/// Class of the test.
pub const TEST: Class = Class { severity: Severity::Test, anchor: "runbook", has_end: false };
/// Class of events that are not signed by us.
const NOT_SIGNED: Class = Class { severity: Severity::Critical, anchor: "alarm-not-signed", has_end: true };
/// Class of an all-clear.
pub const ALL_CLEAR: Class = Class { severity: Severity::Ok, anchor: "alarm-all-clear", has_end: false };

/// Classifies a notice by the kind that its cause begins with. A campaign that accepts nothing and data that differ are
/// critical, because members may lose coupons. Requests that were published again need nobody: the notice is a warning, sent
/// once it is done.
pub fn of_notice(cause: &str) -> Class {
    let (severity, anchor, has_end) = match cause.split(' ').next() {
        Some("SUSPECT") => (Severity::Critical, "alarm-suspect", true),
        Some("LOST") => (Severity::Critical, "alarm-lost", true),
        Some("DRIFT") => (Severity::Critical, "alarm-drift", true),
        Some("WEBHOOK") => (Severity::Warning, "alarm-webhook", false),
        Some("REQUEUED") => (Severity::Warning, "alarm-requeued", false),
        _ => (Severity::Critical, "runbook", false),
    };
    Class { severity, anchor, has_end }
}

/// Classifies dead letters. A compensated or undecided request is critical, because it is a member's coupon. A record that
/// is not signed by us is critical too: somebody who should not writes to the topic, or a key is missing here. A record that
/// cannot be read, or that carries the request id of another member, was written by no issuer-api and belongs to no member.
pub fn of_dlq_events(dlq_events: &UnsentDlqEvents) -> Class {
    if signing::codes::ALL.contains(&dlq_events.sample.error_code.as_str()) {
        return NOT_SIGNED;
    }
    let is_foreign =
        dlq_events.sample.error_code == codes::OTHER_MEMBER || dlq_events.by_coupon.iter().all(|of| of.0.is_none());
    of_statuses(&dlq_events.by_status, is_foreign)
}

fn of_statuses(by_status: &[(DlqEventStatus, usize)], is_foreign: bool) -> Class {
    let has = |sought| by_status.iter().any(|(status, _)| *status == sought);
    let (severity, anchor) = if has(DlqEventStatus::Compensated) {
        (Severity::Critical, "alarm-given-up")
    } else if has(DlqEventStatus::Held) {
        (Severity::Critical, "alarm-held")
    } else if has(DlqEventStatus::Parked) && !is_foreign {
        (Severity::Critical, "alarm-parked")
    } else {
        (Severity::Warning, "alarm-parked")
    };
    Class { severity, anchor, has_end: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_into_the_runbook_has_its_anchor_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");
        let runbook = std::fs::read_to_string(path).unwrap();
        let of_notices = ["SUSPECT X", "LOST X", "DRIFT X", "REQUEUED X", "WEBHOOK X"].map(of_notice);
        let of_dlq_events = [DlqEventStatus::Compensated, DlqEventStatus::Held, DlqEventStatus::Parked]
            .map(|status| of_statuses(&[(status, 1)], false));
        for Class { anchor, .. } in of_notices.into_iter().chain(of_dlq_events).chain([NOT_SIGNED, ALL_CLEAR]) {
            assert_eq!(runbook.matches(&format!("<a id=\"{anchor}\"></a>")).count(), 1, "{anchor}");
        }
        assert!(TEST.anchor == "runbook" && runbook.contains("\n## Runbook\n"));
    }
}
