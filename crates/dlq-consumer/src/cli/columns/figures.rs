//! The columns of figures, causes and the audit.

use coupon_core::repo::{
    audit::AuditRow,
    work_list::{Cause, Group, List, Note},
};
use coupon_operations::{
    terminal::output::{Column, Output, fields, json, optional, rows, section, time},
    work_list::Stats,
};

/// Returns the columns of causes of a list, as a table.
pub(in crate::cli) fn causes(list: List) -> Vec<Column<Cause>> {
    let mut columns = CAUSES.to_vec();
    columns[3].1 = match list {
        List::Requests => |row| List::Requests.number(row.sample_id).to_string(),
        List::DlqEvents => |row| List::DlqEvents.number(row.sample_id).to_string(),
    };
    columns
}

/// Columns of causes.
pub(in crate::cli) const CAUSES: &[Column<Cause>] = &[
    ("count", |row| row.count.to_string()),
    ("first_seen", |row| time(row.first_seen)),
    ("last_seen", |row| time(row.last_seen)),
    ("sample_id", |row| row.sample_id.to_string()),
    ("cause", |row| row.cause.clone()),
];

/// Returns the columns of the audit, as a table.
pub(in crate::cli) fn audit() -> Vec<Column<AuditRow>> {
    let mut columns = AUDIT_CSV.to_vec();
    columns[4].1 = |row| numbered(&row.subject);
    columns
}

/// Columns of the audit, as CSV.
pub(in crate::cli) const AUDIT_CSV: &[Column<AuditRow>] = &[
    ("id", |row| row.id.to_string()),
    ("at", |row| time(row.at)),
    ("actor", |row| row.actor.clone()),
    ("verb", |row| row.verb.clone()),
    ("subject", |row| row.subject.clone()),
    ("change", |row| row.change.to_string()),
    ("reason", |row| row.reason.clone()),
];

/// Columns of the notes on a row.
pub(in crate::cli) const NOTES: &[Column<Note>] =
    &[("at", |row| time(row.written_at)), ("by", |row| row.written_by.clone()), ("note", |row| row.note.clone())];

/// Returns the number of an entry or a dead letter, and any other subject as the audit names it.
fn numbered(subject: &str) -> String {
    let number = || {
        let (table, id) = subject.split_once('/')?;
        Some(table.parse::<List>().ok()?.number(id.parse().ok()?).to_string())
    };
    number().unwrap_or_else(|| subject.to_owned())
}

const GROUPS: &[Column<Group>] = &[("count", |row| row.count.to_string()), ("", |row| row.name.clone())];

/// A figure as a row of CSV: its name, its group if it has groups, its value.
type Figure = (&'static str, String, String);

const FIGURES: &[Column<Figure>] = &[
    ("figure", |(figure, ..)| (*figure).to_owned()),
    ("name", |(_, name, _)| name.clone()),
    ("value", |(.., value)| value.clone()),
];

/// Prints the figures.
pub(in crate::cli) fn stats(output: Output, stats: &Stats) -> anyhow::Result<()> {
    let figures = &stats.figures;
    let counts = &figures.counts;
    let oldest = counts.oldest_pending_at.map(time);
    let groups = [
        ("by_cause", "Pending by cause", &figures.by_cause),
        ("by_coupon", "Pending by coupon", &figures.by_coupon),
        ("held_by_cause", "Held by cause", &figures.held_by_cause),
        ("parked_by_cause", "Parked by cause", &figures.parked_by_cause),
    ];
    match output {
        Output::Json => json(stats),
        Output::Csv => {
            let one = |figure, value: String| (figure, String::new(), value);
            let mut all: Vec<Figure> = vec![
                one("pending", counts.pending.to_string()),
                one("oldest_pending_at", optional(oldest)),
                one("oldest_pending_seconds", optional(stats.oldest_pending_seconds)),
                one("held", counts.held.to_string()),
                one("parked", counts.parked.to_string()),
                one("alarms_unsent", counts.alarms_unsent.to_string()),
                one("alarms_in_digest", stats.alarms_in_digest.to_string()),
                one("not_given_back", counts.not_given_back.to_string()),
            ];
            for (figure, _, groups) in groups {
                all.extend(groups.iter().map(|group| (figure, group.name.clone(), group.count.to_string())));
            }
            rows(output, &all, FIGURES, FIGURES)
        }
        Output::Table => {
            let age = stats.oldest_pending_seconds.map(|seconds| format!("{}, {} ago", optional(oldest), age(seconds)));
            fields(&[
                ("pending", counts.pending.to_string()),
                ("oldest pending", age.unwrap_or_else(|| "none".to_owned())),
                ("held", counts.held.to_string()),
                ("parked", counts.parked.to_string()),
                ("alarms unsent", unsent(counts.alarms_unsent, stats.alarms_in_digest)),
                ("not given back", counts.not_given_back.to_string()),
            ])?;
            for (_, heading, groups) in groups {
                section(heading, groups, GROUPS)?;
            }
            Ok(())
        }
    }
}

/// Returns the number of late alarms, and of those that wait for their digest, which is as it should be.
fn unsent(all: i64, in_digest: i64) -> String {
    let late = (all - in_digest).max(0);
    if in_digest == 0 { late.to_string() } else { format!("{late}, and {in_digest} in the next digest") }
}

/// Returns a time in its two largest units.
fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        let ages = [0, 59, 60, 3599, 3600, 86_399, 90_000].map(age);
        assert_eq!(ages, ["0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 1 h"]);
    }
}
