//! The tables of `reconcile`: reports and history.

use coupon_core::{ids::CouponCode, repo::reconciliations::ReconciliationRow};
use coupon_operations::{
    reconcile::{Drift, DriftCount},
    terminal::output::{self, Column, time, yes_or},
};

use super::{Output, Report};

/// The drift of one kind in one campaign.
type DriftRow = (CouponCode, Drift, DriftCount);

const DRIFT: &[Column<DriftRow>] = &[
    ("coupon", |(code, ..)| code.to_string()),
    ("drift", |(_, drift, _)| drift.to_string()),
    ("found", |(.., count)| count.found.to_string()),
    ("repaired", |(.., count)| count.repaired.to_string()),
    ("examples", |(.., count)| count.examples.join(" ")),
    ("what it means", |(_, drift, _)| drift.meaning().to_owned()),
];

const HISTORY: &[Column<ReconciliationRow>] = &[
    ("id", |row| row.id.to_string()),
    ("coupon", |row| row.coupon_code.clone()),
    ("at", |row| time(row.finished_at)),
    ("by", |row| row.started_by.clone()),
    ("applied", |row| yes_or(row.applied, "no")),
    ("marks", |row| row.marks.to_string()),
    ("rows", |row| row.issued_rows.to_string()),
    ("under way", |row| row.in_flight.to_string()),
    ("drift", |row| row.drift.to_string()),
];

/// Prints reports: one row for each kind of drift, then a line for each campaign on standard error.
pub fn reports(reports: &[Report], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(reports);
    }
    let kinds = |report: &Report| -> Vec<DriftRow> {
        report.drift.iter().map(|(drift, count)| (report.coupon.clone(), *drift, count.clone())).collect()
    };
    let rows: Vec<DriftRow> = reports.iter().flat_map(kinds).collect();
    if !rows.is_empty() {
        output::rows(output, &rows, DRIFT, DRIFT)?;
    }
    for report in reports {
        let Report { coupon, holder_entries, issued_rows, in_flight, .. } = report;
        eprintln!("{coupon}: {holder_entries} holder entries, {issued_rows} rows, {in_flight} under way");
    }
    Ok(())
}

/// Prints the history of reconciliations.
pub fn history(rows: &[ReconciliationRow], output: Output) -> anyhow::Result<()> {
    output::rows(output, rows, HISTORY, HISTORY)
}
