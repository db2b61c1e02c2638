//! Printing. Everything stored came from outside, so control characters are shown and never executed.

use comfy_table::{ContentArrangement, Table, presets};
use coupon_core::runtime::Escaped;
use serde::Serialize;

pub use crate::work_list::Output;

/// Rows for people.
pub fn rows(columns: &[&str], rows: &[Vec<String>], _output: Output) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(columns);
    for row in rows {
        table.add_row(row.iter().map(|cell| Escaped(cell).to_string()));
    }
    println!("{table}");
    Ok(())
}

/// Rows for programs.
pub fn json(data: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(data)?);
    Ok(())
}

/// A moment, to the millisecond.
pub fn time(at: Option<chrono::DateTime<chrono::Utc>>) -> String {
    at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)).unwrap_or_default()
}
