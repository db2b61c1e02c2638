//! Decisions by their numbers: the tables `coupon_decision_batches` and `coupon_decision_marks`.
//!
//! Whoever decides raises `coupons.decision_no` under the lock of that row and inserts a batch in the same transaction (see
//! `coupon_issues`). So the numbers of a campaign have no gaps, and come in the order of the commits. What builds before
//! migration 0010 decide is numbered later.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{CouponDecisionBatchRepository, RepoError, coupon_issues::Decision};
use crate::ids::CouponCode;

mod accepted;
mod later;
mod marks;

pub use accepted::{AcceptedNumbers, NumberGaps};
pub use later::NumberCount;
pub use marks::Behind;

/// Numbers decisions of one kind and epoch, in the transaction `tx` that has made them, and returns the number of the last. The row
/// of the campaign is locked by then or here. `at` is when they were made; `None`: now.
pub(super) async fn number_decisions(
    tx: &mut PgConnection,
    coupon_id: i64,
    (decision, epoch): (Decision, i64),
    ids: &[Uuid],
    at: Option<DateTime<Utc>>,
) -> Result<i64, sqlx::Error> {
    let number = sqlx::query_scalar(
        "WITH raised AS (
             UPDATE coupons SET decision_no = decision_no + cardinality($4) WHERE coupon_id = $1 RETURNING decision_no
         ), numbered AS (
             INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
             SELECT $1, decision_no - cardinality($4) + 1, $2, $3, $4, coalesce($5, now()) FROM raised
         )
         SELECT decision_no FROM raised",
    );
    number.bind(coupon_id).bind(decision.as_str()).bind(epoch).bind(ids).bind(at).fetch_one(tx).await
}

/// A decision with its number.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct NumberedDecision {
    /// Number among the decisions of its campaign, from 1.
    pub number: i64,
    /// Request id.
    pub request_id: Uuid,
    /// Member.
    pub member_id: String,
    /// Decision.
    #[sqlx(try_from = "String")]
    pub decision: Decision,
    /// Epoch in which the request was reserved.
    pub epoch: i64,
    /// Time of the reservation.
    pub reserved_at: DateTime<Utc>,
    /// Time of the decision.
    pub decided_at: DateTime<Utc>,
    /// End of the coupon's validity, if it is ISSUED.
    pub expires_at: Option<DateTime<Utc>>,
    /// Request by which the member holds a coupon instead, if it is COMPENSATED and there is one.
    pub superseded_by: Option<Uuid>,
    /// Trace context of the request, if it came in a trace that is sampled and was decided not too long ago.
    pub traceparent: Option<String>,
}

/// Decisions of consecutive numbers.
#[derive(Clone, Debug, Default)]
pub struct DecisionPage {
    /// The decisions, in the order of their numbers.
    pub decisions: Vec<NumberedDecision>,
    /// The first number asked for that has no decision: its batch was purged, or somebody has deleted it.
    pub missing: Option<i64>,
}

/// The numbers of a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Numbers {
    /// Key of the campaign.
    pub coupon_id: i64,
    /// Number of the last decision; 0: there is none.
    pub last: i64,
    /// Number of the first decision whose batch is kept; `None`: of none it is.
    pub first_kept: Option<i64>,
}

impl CouponDecisionBatchRepository<'_> {
    /// Returns the decisions with the numbers `from` to `to`, or those before the first one that is missing.
    pub async fn page(self, coupon_id: i64, from: i64, to: i64) -> Result<DecisionPage, RepoError> {
        let select = sqlx::query_as(
            // The batches are found by their first numbers alone, whatever they hold.
            "WITH page AS MATERIALIZED (
                 SELECT first_no, request_ids FROM coupon_decision_batches
                 WHERE coupon_id = $1 AND first_no <= $3 AND first_no >= coalesce(
                     (SELECT max(first_no) FROM coupon_decision_batches WHERE coupon_id = $1 AND first_no <= $2), 0)
             ), numbered AS MATERIALIZED (
                 SELECT page.first_no + r.place - 1 AS number, r.request_id
                 FROM page CROSS JOIN LATERAL UNNEST(page.request_ids) WITH ORDINALITY AS r (request_id, place)
             )
             SELECT n.number, i.request_id, i.member_id, i.decision, i.epoch, i.reserved_at, i.decided_at, i.expires_at,
                    i.superseded_by, t.traceparent
             FROM numbered n JOIN coupon_issues i ON i.coupon_id = $1 AND i.request_id = n.request_id
             LEFT JOIN coupon_decision_traces t ON t.request_id = n.request_id
             WHERE n.number BETWEEN $2 AND $3
             ORDER BY n.number",
        )
        .bind(coupon_id)
        .bind(from)
        .bind(to);
        let mut decisions: Vec<NumberedDecision> =
            self.read("read numbered decisions", select.fetch_all(&self.pool())).await?;
        let consecutive =
            decisions.iter().zip(from..).take_while(|(decision, number)| decision.number == *number).count();
        decisions.truncate(consecutive);
        let next = from.saturating_add(i64::try_from(consecutive).unwrap_or(i64::MAX));
        Ok(DecisionPage { decisions, missing: (next <= to).then_some(next) })
    }

    /// Returns the numbers of a campaign; `None`: there is no such campaign.
    pub async fn numbers(self, code: &CouponCode) -> Result<Option<Numbers>, RepoError> {
        let select = sqlx::query_as(
            "SELECT coupon_id, decision_no AS last,
                    (SELECT min(first_no) FROM coupon_decision_batches b WHERE b.coupon_id = c.coupon_id) AS first_kept
             FROM coupons c WHERE coupon_code = $1",
        )
        .bind(code.as_str());
        self.read("read the numbers of a campaign", select.fetch_optional(&self.pool())).await
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, path::Path};

    /// The statements that insert decisions, by file, and how many each has. Each raises `decision_no` in its transaction,
    /// but for the probe's, which is rolled back.
    const DECIDING: [(&str, usize); 3] = [("compensate.rs", 1), ("insert.rs", 2), ("probe.rs", 1)];

    /// What each of these files has to hold once for each decision: the batch in the same statement as the number, or the call of
    /// what does that.
    const NUMBERING: [&str; 2] = ["INSERT INTO coupon_decision_batches", "number_decisions(&mut tx"];

    fn count(folder: &Path, of: &str, found: &mut BTreeMap<String, usize>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                count(&path, of, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let production = text.split("#[cfg(test)]").next().unwrap_or_default();
                let one_line = production.split_whitespace().collect::<Vec<_>>().join(" ");
                let times = one_line.matches(of).count();
                if times > 0 {
                    *found.entry(path.file_name().unwrap().to_string_lossy().into_owned()).or_default() += times;
                }
            }
        }
    }

    #[test]
    fn whatever_inserts_decisions_numbers_them() {
        let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/repo");
        let (mut inserting, mut numbering) = (BTreeMap::new(), BTreeMap::new());
        count(&repo, "INSERT INTO coupon_issues (", &mut inserting);
        for of in NUMBERING {
            count(&repo, of, &mut numbering);
        }
        let expected: BTreeMap<String, usize> =
            DECIDING.iter().map(|(file, times)| ((*file).to_owned(), *times)).collect();
        assert_eq!(inserting, expected, "a statement inserts decisions: number them, and name it here");
        for (file, times) in DECIDING {
            assert_eq!(numbering.get(file), Some(&times), "{file} inserts decisions that it does not number");
        }
        // A function of the schema that inserts decisions is of a build before, or numbers them.
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let inserts =
                path.extension().is_some_and(|extension| extension == "sql") && text.contains("INTO coupon_issues");
            assert!(
                !inserts || &name[..4] < "0010" || text.contains(NUMBERING[0]),
                "{name} inserts decisions without numbers"
            );
        }
    }
}
