//! Entries of the work list.

use coupon_core::repo::{
    dlq_events::DlqEvent,
    failed_coupon_issues::{FailedCouponIssue, ReplayLink},
    work_list::List,
};
use coupon_operations::{
    terminal::output::{Column, Output, fields, first, json, optional, rows, section, time, yes_or},
    work_list::Entry,
};

use super::figures;

/// Returns the columns of a table; `wide` shows the whole reason.
pub(in crate::cli) fn table(wide: bool) -> Vec<Column<FailedCouponIssue>> {
    let reason: Column<FailedCouponIssue> =
        if wide { ("reason", |row| row.reason.clone()) } else { ("reason", |row| first(&row.reason, 60)) };
    TABLE.iter().copied().chain([reason]).collect()
}

const TABLE: &[Column<FailedCouponIssue>] = &[
    ("id", |row| number(row.id)),
    ("status", |row| row.status.to_string()),
    ("coupon", |row| row.coupon_code.clone()),
    ("member", |row| row.member_id.clone()),
    ("request id", |row| row.request_id.to_string()),
    ("failed at", |row| time(row.failed_at)),
    ("unit back", |row| yes_or(row.given_back_at.is_some(), "due")),
    ("replays", |row| row.replay_count.to_string()),
    ("code", |row| row.error_code.clone()),
];

fn number(id: i64) -> String {
    List::Requests.number(id).to_string()
}

/// Columns of CSV, named as in JSON.
pub(in crate::cli) const CSV: &[Column<FailedCouponIssue>] = &[
    ("id", |row| row.id.to_string()),
    ("coupon_code", |row| row.coupon_code.clone()),
    ("member_id", |row| row.member_id.clone()),
    ("request_id", |row| row.request_id.to_string()),
    ("status", |row| row.status.to_string()),
    ("error_class", |row| row.error_class.clone()),
    ("error_code", |row| row.error_code.clone()),
    ("cause", |row| row.cause.clone().unwrap_or_default()),
    ("reason", |row| row.reason.clone()),
    ("failed_at", |row| time(row.failed_at)),
    ("resolved_at", |row| optional(row.resolved_at.map(time))),
    ("resolved_by", |row| row.resolved_by.clone().unwrap_or_default()),
    ("resolution", |row| row.resolution.clone().unwrap_or_default()),
    ("replay_count", |row| row.replay_count.to_string()),
    ("replay_of", |row| optional(row.replay_of)),
    ("given_back_at", |row| optional(row.given_back_at.map(time))),
    ("number", |row| number(row.id)),
    ("decided_by_hand", |row| row.decided_by_hand.to_string()),
];

const REPLAYS: &[Column<ReplayLink>] = &[
    ("request id", |row| row.request_id.to_string()),
    ("outcome", |row| row.outcome.clone().unwrap_or_else(|| "not yet known".to_owned())),
    ("held by", |row| optional(row.held_by)),
    ("job", |row| row.job_id.to_string()),
    ("entry", |row| optional(row.failed_issue_id.map(number))),
    ("begun at", |row| time(row.created_at)),
];

const DEAD_LETTERS: &[Column<DlqEvent>] = &[
    ("id", |row| List::DlqEvents.number(row.id).to_string()),
    ("status", |row| row.status.to_string()),
    ("place", |row| format!("{} {}/{}", row.dlq_topic, row.dlq_partition, row.dlq_offset)),
    ("told of", |row| yes_or(row.alarm_sent, "not yet")),
    ("at", |row| time(row.created_at)),
    ("error chain", |row| first(&row.stack_trace, 80)),
];

/// Prints an entry with its replays, dead letters and audit; as CSV, the entry alone.
pub(in crate::cli) fn show(output: Output, shown: &Entry) -> anyhow::Result<()> {
    let row = &shown.entry;
    match output {
        Output::Json => return json(shown),
        Output::Csv => return rows(output, std::slice::from_ref(row), CSV, CSV),
        Output::Table => {}
    }
    fields(&[
        ("id", number(row.id)),
        ("status", row.status.to_string()),
        ("coupon", row.coupon_code.clone()),
        ("member", row.member_id.clone()),
        ("request id", row.request_id.to_string()),
        ("failed at", time(row.failed_at)),
        ("unit given back at", row.given_back_at.map_or_else(|| "due".to_owned(), time)),
        ("error class", row.error_class.clone()),
        ("error code", row.error_code.clone()),
        ("cause", row.cause()),
        ("reason", row.reason.clone()),
        ("replays", format!("{} of at most 3", row.replay_count)),
        ("replay of entry", optional(row.replay_of.map(number))),
        ("decided by hand", if row.decided_by_hand { "yes: no replay by a filter takes it" } else { "no" }.to_owned()),
        ("resolved at", optional(row.resolved_at.map(time))),
        ("resolved by", row.resolved_by.clone().unwrap_or_default()),
        ("resolution", row.resolution.clone().unwrap_or_default()),
        ("claimed by", row.claimed_by.clone().unwrap_or_default()),
        ("claimed at", optional(row.claimed_at.map(time))),
    ])?;
    section("Notes", &shown.notes, figures::NOTES)?;
    section("Replays", &shown.replays, REPLAYS)?;
    section("Dead letters", &shown.dead_letters, DEAD_LETTERS)?;
    section("Audit", &shown.audit, &figures::audit())?;
    Ok(())
}
