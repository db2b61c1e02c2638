//! Anchors of `deploy/README.md`, which the base URL of the runbook leads to.

use coupon_core::repo::dlq_events::DlqEventStatus;

/// Requests that were given up.
pub const GIVEN_UP: &str = "alarm-given-up";
/// Dead letters that are held.
pub const HELD: &str = "alarm-held";
/// Dead letters that are parked.
pub const PARKED: &str = "alarm-parked";
/// A campaign that is SUSPECT.
pub const SUSPECT: &str = "alarm-suspect";
/// A campaign whose data Redis has lost.
pub const LOST: &str = "alarm-lost";
/// Redis and PostgreSQL differ.
pub const DRIFT: &str = "alarm-drift";
/// What was lost with a topic is published again.
pub const REQUEUED: &str = "alarm-requeued";
/// Nothing of a cause waits any more.
pub const ALL_CLEAR: &str = "alarm-all-clear";
/// All of them.
pub const RUNBOOK: &str = "runbook";

/// The entry for a notice of this cause.
pub fn of_notice(cause: &str) -> &'static str {
    match cause.split(' ').next() {
        Some("SUSPECT") => SUSPECT,
        Some("LOST") => LOST,
        Some("DRIFT") => DRIFT,
        Some("REQUEUED") => REQUEUED,
        _ => RUNBOOK,
    }
}

/// The entry for dead letters, by the worst of their statuses.
pub fn of_letters(by_status: &[(DlqEventStatus, usize)]) -> &'static str {
    let has = |wanted| by_status.iter().any(|(status, _)| *status == wanted);
    if has(DlqEventStatus::Compensated) {
        GIVEN_UP
    } else if has(DlqEventStatus::Held) {
        HELD
    } else {
        PARKED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_into_the_runbook_has_its_anchor_there() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/README.md");
        let runbook = std::fs::read_to_string(path).unwrap();
        for anchor in [GIVEN_UP, HELD, PARKED, SUSPECT, LOST, DRIFT, REQUEUED, ALL_CLEAR] {
            assert_eq!(runbook.matches(&format!("<a id=\"{anchor}\"></a>")).count(), 1, "{anchor}");
        }
        assert!(runbook.contains("\n## Runbook\n"));
    }
}
