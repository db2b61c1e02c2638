//! Dead letters.

use coupon_core::repo::{dlq_events::DlqEvent, work_list::List};
use coupon_operations::{
    terminal::output::{Column, Output, fields, first, json, optional, rows, section, time, yes_or},
    work_list::DeadLetterDetails,
};

use super::figures;

/// Returns the columns of a table; `wide` shows the whole error.
pub(in crate::cli) fn table(wide: bool) -> Vec<Column<DlqEvent>> {
    let error: Column<DlqEvent> =
        if wide { ("error", |row| row.error_message.clone()) } else { ("error", |row| first(&row.error_message, 60)) };
    TABLE.iter().copied().chain([error]).collect()
}

const TABLE: &[Column<DlqEvent>] = &[
    ("id", |row| number(row.id)),
    ("status", |row| row.status.to_string()),
    ("coupon", |row| row.coupon_code.clone().unwrap_or_else(|| "-".to_owned())),
    ("member", |row| row.member_id.clone().unwrap_or_else(|| "-".to_owned())),
    ("request id", |row| row.original_event_id.map_or_else(|| "-".to_owned(), |id| id.to_string())),
    ("place", |row| format!("{}/{}", row.dlq_partition, row.dlq_offset)),
    ("attempts", |row| row.attempts.to_string()),
    ("at", |row| time(row.created_at)),
    ("code", |row| row.error_code.clone()),
];

fn number(id: i64) -> String {
    List::DlqEvents.number(id).to_string()
}

/// Columns of CSV, named as in JSON.
pub(in crate::cli) const CSV: &[Column<DlqEvent>] = &[
    ("id", |row| row.id.to_string()),
    ("status", |row| row.status.to_string()),
    ("dlq_topic", |row| row.dlq_topic.clone()),
    ("dlq_partition", |row| row.dlq_partition.to_string()),
    ("dlq_offset", |row| row.dlq_offset.to_string()),
    ("origin_topic", |row| row.origin_topic.clone().unwrap_or_default()),
    ("origin_partition", |row| optional(row.origin_partition)),
    ("origin_offset", |row| optional(row.origin_offset)),
    ("original_event_type", |row| row.original_event_type.clone()),
    ("original_event_id", |row| optional(row.original_event_id)),
    ("coupon_code", |row| row.coupon_code.clone().unwrap_or_default()),
    ("member_id", |row| row.member_id.clone().unwrap_or_default()),
    ("event_version", |row| optional(row.event_version)),
    ("error_class", |row| row.error_class.clone()),
    ("error_code", |row| row.error_code.clone()),
    ("cause", |row| row.cause.clone()),
    ("error_message", |row| row.error_message.clone()),
    ("stack_trace", |row| row.stack_trace.clone()),
    ("attempts", |row| row.attempts.to_string()),
    ("failed_issue_id", |row| optional(row.failed_issue_id)),
    ("alarm_sent", |row| row.alarm_sent.to_string()),
    ("created_at", |row| time(row.created_at)),
    ("updated_at", |row| time(row.updated_at)),
    ("number", |row| number(row.id)),
];

/// Prints a dead letter with its payload and audit; as CSV, the dead letter alone.
pub(in crate::cli) fn show(output: Output, shown: &DeadLetterDetails) -> anyhow::Result<()> {
    let row = &shown.dead_letter;
    match output {
        Output::Json => return json(shown),
        Output::Csv => return rows(output, std::slice::from_ref(row), CSV, CSV),
        Output::Table => {}
    }
    let place = |topic: &str, partition: i32, offset: i64| format!("{topic} {partition}/{offset}");
    let origin = match (&row.origin_topic, row.origin_partition, row.origin_offset) {
        (Some(topic), Some(partition), Some(offset)) => place(topic, partition, offset),
        _ => "unknown".to_owned(),
    };
    let payload = match (&shown.payload, &shown.payload_base64) {
        (Some(text), _) => first(text, 4000),
        (None, Some(base64)) => format!("base64 {}", first(base64, 4000)),
        (None, None) => "(none)".to_owned(),
    };
    let entry = shown.entry.as_ref().map(|entry| format!("{} {}", List::Requests.number(entry.id), entry.status));
    let headers = shown.headers.as_array().map_or(0, Vec::len);
    fields(&[
        ("id", number(row.id)),
        ("status", row.status.to_string()),
        ("type", row.original_event_type.clone()),
        ("request id", optional(row.original_event_id)),
        ("coupon", row.coupon_code.clone().unwrap_or_default()),
        ("member", row.member_id.clone().unwrap_or_default()),
        ("event version", optional(row.event_version)),
        ("dead letter at", place(&row.dlq_topic, row.dlq_partition, row.dlq_offset)),
        ("first origin", origin),
        ("attempts here", row.attempts.to_string()),
        ("error class", row.error_class.clone()),
        ("error code", row.error_code.clone()),
        ("cause", row.cause.clone()),
        ("error", row.error_message.clone()),
        ("error chain", row.stack_trace.clone()),
        ("work list entry", entry.unwrap_or_default()),
        ("told of", yes_or(row.alarm_sent, "not yet")),
        ("created at", time(row.created_at)),
        ("updated at", time(row.updated_at)),
        ("headers", format!("{headers}, shown with --output json")),
        ("payload", payload),
    ])?;
    section("Notes", &shown.notes, figures::NOTES)?;
    section("Audit", &shown.audit, &figures::audit())?;
    Ok(())
}
