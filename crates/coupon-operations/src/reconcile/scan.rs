//! The two directions: marks without a row, rows without a mark. What looks wrong is put aside and judged later.

use std::collections::HashSet;

use coupon_core::{
    ids::{MemberId, RequestId},
    repo::{coupon_issues::Decision, coupons::Coupon},
};
use uuid::Uuid;

use super::{Operations, OperationsError, ReconcileOptions, Report};

/// Marks asked of Redis at a time; about a millisecond of its time.
const PAGE: usize = 1_000;
/// What looks wrong and is kept at most, about 10 MB, before it is judged.
const ASIDE: usize = 50_000;

/// Something that looked wrong.
#[derive(Clone, Debug)]
pub(super) enum Candidate {
    /// A mark without an ISSUED row of its own: the member, and what the mark says.
    Mark(String, String),
    /// An ISSUED row whose member's mark is not its own.
    Row(MemberId, RequestId),
}

impl Operations {
    /// Every mark has an ISSUED row.
    pub(crate) async fn scan_holders(
        &self,
        coupon: &Coupon,
        options: ReconcileOptions,
        told: &(dyn Fn(u64, u64) + Sync),
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        let code = &coupon.coupon_code;
        let (mut cursor, mut aside) = (0, Vec::new());
        // Redis may give a mark twice; it is judged once. Only what looks wrong is remembered.
        let mut seen = HashSet::new();
        loop {
            let page = self.stock.scan_holders(code, cursor, PAGE).await?;
            report.marks += page.holders.len() as u64;
            let ids: Vec<Uuid> = page.holders.iter().filter_map(|(_, mark)| request(mark)).collect();
            let words = self.database.reconciliations().decisions(code, &ids).await?;
            for (member, mark) in page.holders {
                let word = request(&mark).and_then(|id| words.get(&id));
                let is_right = word.is_some_and(|word| word.decision == Decision::Issued && word.member_id == member);
                if !is_right && seen.insert(member.clone()) {
                    aside.push(Candidate::Mark(member, mark));
                }
            }
            told(report.marks, report.issued_rows);
            cursor = page.cursor;
            if aside.len() >= ASIDE || cursor == 0 {
                self.judge(coupon, std::mem::take(&mut aside), options, report).await?;
                seen.clear();
            }
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Every ISSUED row has its mark.
    pub(super) async fn scan_rows(
        &self,
        coupon: &Coupon,
        options: ReconcileOptions,
        told: &(dyn Fn(u64, u64) + Sync),
        report: &mut Report,
    ) -> Result<(), OperationsError> {
        let code = &coupon.coupon_code;
        let (mut after, mut aside) = (None, Vec::new());
        loop {
            let rows = self
                .database
                .coupon_issues()
                .holder_entries(code, after, i64::try_from(PAGE).unwrap_or(i64::MAX))
                .await?;
            report.issued_rows += rows.len() as u64;
            after = rows.last().map(|(_, id)| *id);
            let members: Vec<&str> = rows.iter().map(|(member, _)| member.as_str()).collect();
            let marks = self.stock.holders_of(code, &members).await?;
            for ((member, id), mark) in rows.into_iter().zip(marks) {
                if mark.as_deref().and_then(request) != Some(id.as_uuid()) {
                    aside.push(Candidate::Row(member, id));
                }
            }
            told(report.marks, report.issued_rows);
            if aside.len() >= ASIDE || after.is_none() {
                self.judge(coupon, std::mem::take(&mut aside), options, report).await?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
    }
}

/// The request a mark names.
pub(super) fn request(mark: &str) -> Option<Uuid> {
    mark.parse::<RequestId>().ok().map(RequestId::as_uuid)
}
