//! What a reconciliation found, for people and for programs.

use coupon_core::{repo::reconciliations::ReconciliationRow, runtime::Escaped};
use coupon_operations::terminal::output;

use super::{Output, Report};

const COLUMNS: [&str; 6] = ["coupon", "drift", "found", "repaired", "examples", "what it means"];

/// Reports: one row for each kind of drift.
pub fn reports(reports: &[Report], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(reports);
    }
    let mut rows = Vec::new();
    for report in reports {
        for (drift, found) in &report.drift {
            rows.push(vec![
                report.coupon.to_string(),
                drift.to_string(),
                found.found.to_string(),
                found.repaired.to_string(),
                found.examples.join(" "),
                drift.meaning().to_owned(),
            ]);
        }
    }
    if !rows.is_empty() {
        output::cells(output, &COLUMNS, &rows)?;
    }
    for report in reports {
        let Report { coupon, marks, issued_rows, in_flight, .. } = report;
        eprintln!("{coupon}: {marks} marks, {issued_rows} rows, {in_flight} under way");
    }
    Ok(())
}

/// The history.
pub fn history(rows: &[ReconciliationRow], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return output::json(rows);
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.id.to_string(),
                row.coupon_code.clone(),
                row.finished_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
                row.started_by.clone(),
                if row.applied { "yes" } else { "no" }.to_owned(),
                row.marks.to_string(),
                row.issued_rows.to_string(),
                row.in_flight.to_string(),
                Escaped(&row.drift).to_string(),
            ]
        })
        .collect();
    output::cells(output, &["id", "coupon", "at", "by", "applied", "marks", "rows", "under way", "drift"], &cells)
}
