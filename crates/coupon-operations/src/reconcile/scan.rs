//! The scan in both directions: holder entries without an ISSUED row, ISSUED rows without a holder entry. What differs is a
//! candidate, and is verified later.

use std::collections::HashSet;

use coupon_core::{
    ids::{MemberId, RequestId},
    repo::coupon_issues::Decision,
};
use uuid::Uuid;

use super::{Comparison, OperationsError};

/// Holder entries read from Redis by one command, which takes Redis about a millisecond.
const SCAN_PAGE_ENTRIES: usize = 1_000;
/// ISSUED rows read from PostgreSQL by one query.
const SCAN_PAGE_ROWS: i64 = 1_000;
/// Candidates kept before they are verified, about 10 MB.
const MAX_CANDIDATES: usize = 50_000;

/// A difference that was found and is not verified.
#[derive(Clone, Debug)]
pub(super) enum Candidate {
    /// A holder entry without an ISSUED row of its own: the member, and the entry's value.
    Holder(String, String),
    /// An ISSUED row whose member's holder entry names another request, or is missing.
    Row(MemberId, RequestId),
}

impl Comparison<'_> {
    /// Reads every holder entry; each needs an ISSUED row.
    pub(crate) async fn scan_holder_entries(&mut self) -> Result<(), OperationsError> {
        let code = self.code();
        let (mut cursor, mut candidates) = (0, Vec::new());
        // Redis may give an entry twice; it is verified once. Only the members of candidates are remembered.
        let mut seen = HashSet::new();
        loop {
            let page = self.stock.scan_holders(code, cursor, SCAN_PAGE_ENTRIES).await?;
            self.report.holder_entries += page.holders.len() as u64;
            let ids: Vec<Uuid> = page.holders.iter().filter_map(|(_, entry)| request(entry)).collect();
            let decisions = self.database.reconciliations().decisions(code, &ids).await?;
            for (member, entry) in page.holders {
                let found = request(&entry).and_then(|id| decisions.get(&id));
                let is_right =
                    found.is_some_and(|found| found.decision == Decision::Issued && found.member_id == member);
                if !is_right && seen.insert(member.clone()) {
                    candidates.push(Candidate::Holder(member, entry));
                }
            }
            (self.progress)(self.report.holder_entries, self.report.issued_rows);
            cursor = page.cursor;
            if candidates.len() >= MAX_CANDIDATES || cursor == 0 {
                self.verify(std::mem::take(&mut candidates)).await?;
                seen.clear();
            }
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Reads every ISSUED row; each needs a holder entry.
    pub(super) async fn scan_rows(&mut self) -> Result<(), OperationsError> {
        let code = self.code();
        let (mut after, mut candidates) = (None, Vec::new());
        loop {
            let rows = self.database.coupon_issues().holder_entries(code, after, SCAN_PAGE_ROWS).await?;
            self.report.issued_rows += rows.len() as u64;
            after = rows.last().map(|(_, id)| *id);
            let members: Vec<&str> = rows.iter().map(|(member, _)| member.as_str()).collect();
            let entries = self.stock.holders_of(code, &members).await?;
            for ((member, id), entry) in rows.into_iter().zip(entries) {
                if entry.as_deref().and_then(request) != Some(id.as_uuid()) {
                    candidates.push(Candidate::Row(member, id));
                }
            }
            (self.progress)(self.report.holder_entries, self.report.issued_rows);
            if candidates.len() >= MAX_CANDIDATES || after.is_none() {
                self.verify(std::mem::take(&mut candidates)).await?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// Returns the request id that a holder entry names.
pub(super) fn request(entry: &str) -> Option<Uuid> {
    entry.parse::<RequestId>().ok().map(RequestId::as_uuid)
}
