//! The export of a campaign's decisions: page by page, in constant memory, the same bytes each time for the same bound.

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::{
        RepoError,
        coupon_issues::{DecisionFilter, DecisionOfCoupon},
    },
    runtime::hex,
};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    Operations,
    terminal::output::{self, Column, optional, time},
};

/// Rows read by one query.
const PAGE_ROWS: i64 = 5_000;
/// How long ago a decision has to be before an export may end with it: a batch is dated when it begins, and its statement may
/// take half of this (`database.statement_timeout_ms` of issue-consumer).
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(10);
/// Verb of the audit.
pub const EXPORT_VERB: &str = "issues.export";

/// The form of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// For spreadsheets: no cell is taken for a formula.
    Csv,
    /// One JSON object on each line.
    Jsonl,
}

impl ExportFormat {
    /// The textual form, which is also the ending of the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What an export was in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, in hexadecimal digits.
    pub sha256: String,
}

/// An export under way.
pub struct Export {
    operations: Operations,
    code: CouponCode,
    format: ExportFormat,
    filter: DecisionFilter,
    after: Option<Uuid>,
    is_begun: bool,
    digest: Context,
    rows: u64,
    bytes: u64,
}

/// A piece of an export, or its end.
#[derive(Debug)]
pub enum Piece {
    /// The next bytes.
    Text(String),
    /// There are no more.
    End(Exported),
}

/// What a row of the CSV shows: the fields of the JSON, in their order.
const COLUMNS: &[Column<DecisionOfCoupon>] = &[
    ("seq", |row| row.seq.to_string()),
    ("member_id", |row| row.member_id.clone()),
    ("request_id", |row| row.request_id.to_string()),
    ("decision", |row| row.decision.to_string()),
    ("reserved_at", |row| time(row.reserved_at)),
    ("decided_at", |row| time(row.decided_at)),
    ("expires_at", |row| optional(row.expires_at.map(time))),
];

/// Returns the latest bound that an export may have now, to the second.
pub fn latest_bound(now: DateTime<Utc>) -> DateTime<Utc> {
    let bound = now - SETTLED_AFTER;
    DateTime::from_timestamp(bound.timestamp(), 0).unwrap_or(bound)
}

impl Operations {
    /// Begins the export of the decisions of a campaign, and records that in the audit. A `filter` without a bound, or with
    /// one after [`latest_bound`], gives other bytes the next time.
    pub async fn begin_export(
        &self,
        code: CouponCode,
        format: ExportFormat,
        filter: DecisionFilter,
    ) -> Result<Export, RepoError> {
        let export = Export {
            operations: self.clone(),
            code,
            format,
            filter,
            after: None,
            is_begun: false,
            digest: Context::new(&SHA256),
            rows: 0,
            bytes: 0,
        };
        export.audit("asked", json!({})).await?;
        Ok(export)
    }
}

impl Export {
    /// Returns the next bytes. The end is recorded in the audit, with the digest of all bytes.
    pub async fn next(&mut self) -> anyhow::Result<Piece> {
        if !self.is_begun {
            self.is_begun = true;
            if self.format == ExportFormat::Csv {
                return Ok(self.piece(output::csv(&[], COLUMNS)?));
            }
        }
        let issues = self.operations.database.coupon_issues();
        let rows = issues.list_of_coupon(&self.code, self.filter, self.after, PAGE_ROWS).await?;
        let Some(last) = rows.last() else { return Ok(Piece::End(self.end().await?)) };
        self.after = Some(last.request_id);
        self.rows += rows.len() as u64;
        let text = match self.format {
            ExportFormat::Csv => output::csv_rows(&rows, COLUMNS)?,
            ExportFormat::Jsonl => {
                let line = |row| Ok(output::safe_json(&serde_json::to_string(row)?) + "\n");
                rows.iter().map(line).collect::<serde_json::Result<String>>()?
            }
        };
        Ok(self.piece(text))
    }

    fn piece(&mut self, text: String) -> Piece {
        self.digest.update(text.as_bytes());
        self.bytes += text.len() as u64;
        Piece::Text(text)
    }

    async fn end(&mut self) -> Result<Exported, RepoError> {
        let digest = self.digest.clone().finish();
        let sha256 = hex(digest.as_ref());
        let exported = Exported { rows: self.rows, bytes: self.bytes, sha256 };
        self.audit("to", json!(exported)).await?;
        Ok(exported)
    }

    async fn audit(&self, what: &str, mut change: serde_json::Value) -> Result<(), RepoError> {
        change["format"] = self.format.as_str().into();
        change["decision"] = json!(self.filter.decision);
        change["decided_before"] = json!(self.filter.decided_before);
        let subject = format!("coupons/{}", self.code);
        let audit = self.operations.database.audit();
        audit.append(self.operations.me(), EXPORT_VERB.to_owned(), subject, json!({ what: change })).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_a_whole_second_that_is_settled() {
        let now: DateTime<Utc> = "2026-11-29T18:00:20.900Z".parse().unwrap();
        assert_eq!(latest_bound(now).to_rfc3339(), "2026-11-29T18:00:10+00:00");
    }
}
