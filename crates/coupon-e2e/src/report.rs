//! What a run has shown, a line for each world that came to rest: for the table in README.md.

use std::{fs::OpenOptions, io::Write, time::Duration};

use crate::oracle::{Evidence, Kind, Verdict};

/// Appends a row to the file that `COUPON_REPORT` names; without one nothing is written.
pub(crate) fn append(evidence: &Evidence, verdict: &Verdict, converged: Duration) {
    let Some(path) = std::env::var_os("COUPON_REPORT") else { return };
    let thread = std::thread::current();
    let test = thread.name().and_then(|name| name.rsplit("::").next()).unwrap_or("?").to_owned();
    let doubled = verdict.violations.iter().filter(|violation| violation.kind == Kind::RowWithoutHolder).count();
    let row = format!(
        "| {test} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |\n",
        evidence.main.len(),
        evidence.dlq.len(),
        verdict.issued,
        verdict.compensated,
        verdict.held,
        verdict.lost,
        verdict.oversold,
        verdict.duplicates,
        doubled,
        converged.as_secs_f64()
    );
    // One write, so that rows of tests side by side do not mix.
    let written =
        OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| file.write_all(row.as_bytes()));
    if let Err(error) = written {
        eprintln!("the report is not written: {error}");
    }
}
