//! Printing: tables for people, JSON and CSV for programs.
//!
//! Everything stored came from outside. Whatever the form, no control character reaches the terminal as it is: tables
//! and CSV show it, JSON escapes it.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use coupon_core::runtime::Escaped;
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table, for people.
    #[default]
    Table,
    /// JSON, for programs.
    Json,
    /// For spreadsheets. Control characters are shown, and a cell that would be taken for a formula begins with '.
    Csv,
}

/// A column: its name, and the function that returns a row's cell.
pub type Column<T> = (&'static str, fn(&T) -> String);

/// Prints rows: as a table with the columns `in_table`, as CSV with the columns `in_csv`, or as a JSON array.
pub fn rows<T: Serialize>(
    output: Output,
    rows: &[T],
    in_table: &[Column<T>],
    in_csv: &[Column<T>],
) -> anyhow::Result<()> {
    match output {
        Output::Table => put(&table(rows, in_table))?,
        Output::Json => json(rows)?,
        Output::Csv => write_out(&csv(rows, in_csv)?)?,
    }
    Ok(())
}

/// Prints a value as JSON, without control characters.
pub fn json(data: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
    Ok(put(&safe_json(&serde_json::to_string_pretty(data)?))?)
}

/// Prints a line. A closed pipe is no error: a reader such as `head` has seen what it wanted.
pub fn put(text: &str) -> io::Result<()> {
    write_out(&format!("{text}\n"))
}

fn write_out(text: &str) -> io::Result<()> {
    is_read(text).map(drop)
}

/// Prints a part of a stream. Returns `false` when the pipe is closed, so that nothing more needs to be printed.
pub fn is_read(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true),
    }
}

/// Returns a table without lines.
fn table<T>(rows: &[T], columns: &[Column<T>]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(name, _)| *name));
    for row in rows {
        table.add_row(columns.iter().map(|(_, cell)| Escaped(cell(row)).to_string()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.to_string().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Prints a table under a heading, or nothing if there are no rows.
pub fn section<T>(heading: &str, rows: &[T], columns: &[Column<T>]) -> io::Result<()> {
    if rows.is_empty() { Ok(()) } else { put(&format!("\n{heading}\n{}", table(rows, columns))) }
}

/// Prints names and values, one a line.
pub fn fields(fields: &[(&str, String)]) -> io::Result<()> {
    let lines: Vec<String> = fields.iter().map(|(name, value)| format!("{name:<19} {}", Escaped(value))).collect();
    put(&lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))
}

/// Prints one row: names and values, one a line, or CSV with the names first.
pub fn record(output: Output, values: &[(&str, String)]) -> anyhow::Result<()> {
    if output == Output::Csv {
        let (names, values): (Vec<&str>, Vec<&str>) =
            values.iter().map(|(name, value)| (*name, value.as_str())).unzip();
        return Ok(write_out(&csv_records([names, values])?)?);
    }
    Ok(fields(values)?)
}

/// Returns rows as CSV, with the names of the columns first.
pub fn csv<T>(rows: &[T], columns: &[Column<T>]) -> anyhow::Result<String> {
    Ok(csv_records([columns.iter().map(|(name, _)| *name)])? + &csv_rows(rows, columns)?)
}

/// Returns rows as CSV, without the names of the columns.
pub fn csv_rows<T>(rows: &[T], columns: &[Column<T>]) -> anyhow::Result<String> {
    csv_records(rows.iter().map(|row| columns.iter().map(move |(_, cell)| cell(row))))
}

fn csv_records<C: AsRef<str>>(
    records: impl IntoIterator<Item = impl IntoIterator<Item = C>>,
) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record.into_iter().map(|cell| safe_cell(cell.as_ref())))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// Returns a cell that no spreadsheet takes for a formula, and no terminal for a command.
fn safe_cell(value: &str) -> String {
    let quote = if value.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("{quote}{}", Escaped(value))
}

/// Returns JSON with DEL and the C1 control characters escaped: JSON allows them unescaped, and a terminal obeys them. They
/// can only be inside strings.
pub fn safe_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\u{7f}'..='\u{9f}' => write!(safe, "\\u{:04x}", u32::from(character)).expect("a string takes everything"),
            other => safe.push(other),
        }
    }
    safe
}

/// Returns the first characters of a text, with `…` after them if the text is longer.
pub fn first(value: &str, characters: usize) -> String {
    match value.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}

/// Returns a time in RFC 3339, in UTC, with milliseconds.
pub fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Returns the text of a value, or an empty text.
pub fn optional<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Returns `yes`, or `otherwise`.
pub fn yes_or(is_so: bool, otherwise: &str) -> String {
    if is_so { "yes" } else { otherwise }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column<String>] = &[("what", |row| row.clone()), ("length", |row| row.len().to_string())];

    #[test]
    fn a_cell_is_no_formula_and_no_command() {
        let rows = ["=1+1", "+1", "-1", "@SUM(A1)", "a,\"b\"\n\u{1b}[2J\u{9b}31m", "plain"].map(str::to_owned);
        let csv = csv(&rows, COLUMNS).unwrap();
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(
            lines,
            [
                "what,length",
                "'=1+1,4",
                "'+1,2",
                "'-1,2",
                "'@SUM(A1),8",
                "\"a,\"\"b\"\"\\n\\u{1b}[2J\\u{9b}31m\",15",
                "plain,5"
            ]
        );
    }

    #[test]
    fn a_text_that_is_cut_says_so() {
        assert_eq!(["쿠폰", "쿠폰이"].map(|text| first(text, 2)), ["쿠폰", "쿠폰…"]);
    }

    #[test]
    fn json_keeps_what_it_escapes() {
        let text = "a\u{1b}[2J\u{7f}\u{9b}31m\n쿠폰";
        let json = safe_json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(!json.chars().any(|character| character.is_control() && character != '\n'), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text]);
    }

    #[test]
    fn a_table_has_one_line_for_each_row_whatever_is_in_it() {
        let shown = table(&["a\nb\u{1b}[2J".to_owned(), "c".to_owned()], COLUMNS);
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert!(shown.contains("a\\nb\\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
    }
}
