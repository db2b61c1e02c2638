//! Printing. Everything stored came from outside, so control characters are shown and never executed.

use comfy_table::{ContentArrangement, Table, presets};
use coupon_core::{
    repo::{dead_letters::LetterRow, failed_issues::FailedIssue},
    runtime::Escaped,
};
use serde::Serialize;

use super::Output;

/// The work list.
pub fn failed_issues(rows: &[FailedIssue], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(rows);
    }
    let mut table =
        table(&["id", "status", "coupon", "member", "request id", "failed at", "unit back", "code", "reason"]);
    for row in rows {
        table.add_row([
            row.id.to_string(),
            row.status.to_string(),
            text(&row.coupon_code),
            text(&row.member_id),
            row.request_id.to_string(),
            time(Some(row.failed_at)),
            if row.given_back_at.is_some() { "yes" } else { "due" }.to_owned(),
            text(&row.error_code),
            text(&first(&row.reason, 60)),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// One entry of the work list.
pub fn failed_issue(row: &FailedIssue, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(row);
    }
    fields(&[
        ("id", row.id.to_string()),
        ("status", row.status.to_string()),
        ("coupon", row.coupon_code.clone()),
        ("member", row.member_id.clone()),
        ("request id", row.request_id.to_string()),
        ("failed at", time(Some(row.failed_at))),
        ("unit given back at", time(row.given_back_at)),
        ("error class", row.error_class.clone()),
        ("error code", row.error_code.clone()),
        ("reason", row.reason.clone()),
        ("resolved at", time(row.resolved_at)),
        ("resolved by", row.resolved_by.clone().unwrap_or_default()),
        ("resolution", row.resolution.clone().unwrap_or_default()),
    ]);
    Ok(())
}

/// Dead letters.
pub fn letters(rows: &[LetterRow], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(rows);
    }
    let mut table = table(&["id", "status", "coupon", "request id", "place", "attempts", "at", "code", "error"]);
    for row in rows {
        table.add_row([
            row.id.to_string(),
            row.status.to_string(),
            text(row.coupon_code.as_deref().unwrap_or("-")),
            row.original_event_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            format!("{}/{}", row.dlq_partition, row.dlq_offset),
            row.attempts.to_string(),
            time(Some(row.created_at)),
            text(&row.error_code),
            text(&first(&row.error_message, 60)),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// One dead letter.
pub fn letter(row: &LetterRow, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(row);
    }
    let place = |topic: &str, partition: i32, offset: i64| format!("{topic} {partition}/{offset}");
    let origin = match (&row.origin_topic, row.origin_partition, row.origin_offset) {
        (Some(topic), Some(partition), Some(offset)) => place(topic, partition, offset),
        _ => "unknown".to_owned(),
    };
    let payload = row
        .payload
        .as_deref()
        .map_or_else(|| "(none)".into(), |payload| first(&String::from_utf8_lossy(payload), 4000));
    fields(&[
        ("id", row.id.to_string()),
        ("status", row.status.to_string()),
        ("type", row.original_event_type.clone()),
        ("request id", row.original_event_id.map(|id| id.to_string()).unwrap_or_default()),
        ("coupon", row.coupon_code.clone().unwrap_or_default()),
        ("member", row.member_id.clone().unwrap_or_default()),
        ("event version", row.event_version.map(|version| version.to_string()).unwrap_or_default()),
        ("dead letter at", place(&row.dlq_topic, row.dlq_partition, row.dlq_offset)),
        ("first origin", origin),
        ("attempts here", row.attempts.to_string()),
        ("error class", row.error_class.clone()),
        ("error code", row.error_code.clone()),
        ("cause", row.cause.clone()),
        ("error", row.error_message.clone()),
        ("error chain", row.stack_trace.clone()),
        ("work list entry", row.failed_issue_id.map(|id| id.to_string()).unwrap_or_default()),
        ("told of", if row.alarm_sent { "yes" } else { "not yet" }.to_owned()),
        ("created at", time(Some(row.created_at))),
        ("payload", payload),
    ]);
    Ok(())
}

fn json(data: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(data)?);
    Ok(())
}

fn table(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(names);
    table
}

fn fields(fields: &[(&str, String)]) {
    for (name, value) in fields {
        println!("{name:<19} {}", text(value));
    }
}

fn text(value: &str) -> String {
    Escaped(value).to_string()
}

fn first(value: &str, characters: usize) -> String {
    value.chars().take(characters).collect()
}

fn time(at: Option<chrono::DateTime<chrono::Utc>>) -> String {
    at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)).unwrap_or_default()
}
