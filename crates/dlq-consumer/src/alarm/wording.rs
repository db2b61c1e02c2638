//! Words that alarms and log lines share: how many dead letters there are, and the command that shows more of one.

use coupon_core::repo::{alarms::Sample, dlq_events::DlqEventStatus, work_list::List};

/// `3 requests given up, 1 dead letter held undecided`.
pub fn counted(by_status: &[(DlqEventStatus, usize)]) -> String {
    let part = |(status, count): &(DlqEventStatus, usize)| {
        let plural = if *count == 1 { "" } else { "s" };
        match status {
            DlqEventStatus::Compensated => format!("{count} request{plural} given up"),
            DlqEventStatus::Held => format!("{count} dead letter{plural} held undecided"),
            DlqEventStatus::Parked => format!("{count} dead letter{plural} parked undecided"),
            other => format!("{count} dead letter{plural} {}", other.as_str().to_lowercase()),
        }
    };
    by_status.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// The command that shows all there is to know of a letter.
pub fn look_closer(sample: &Sample) -> String {
    match sample.failed_issue_id {
        Some(id) => format!("dlq-consumer show {}", List::Requests.number(id)),
        None => format!("dlq-consumer show {}", List::Letters.number(sample.id)),
    }
}
