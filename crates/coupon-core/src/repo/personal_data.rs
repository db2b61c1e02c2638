//! Where members stand in PostgreSQL: the rows of all tables that can name one, and their rewriting for an erasure.
//!
//! Decisions are found by their index and changed campaign by campaign. All other tables are read page by page, because a member's
//! id may stand within a text, a document or the bytes of a record.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::{PersonalDataRepository, RepoError, coupons::lock};
use crate::{
    ids::{CouponCode, MemberId},
    repo::coupons::CouponStatus,
};

mod erasures;
mod places;

pub use erasures::{Erasure, ErasureStatus, NewErasure};
pub use places::{PLACES, Place};

/// Rows of one page. A dead letter may have a megabyte.
const PAGE_ROWS: i64 = 100;

/// A row of a [`Place`] as a document: column by column, bytes as `\x` and hexadecimal digits.
#[derive(Clone, Debug, PartialEq, sqlx::FromRow)]
pub struct FoundRow {
    /// Key of the row, as text.
    pub key: String,
    /// All columns.
    pub row: Value,
}

/// A row that gets other texts.
#[derive(Clone, Debug)]
pub struct RewrittenRow {
    /// Row as it was read; one that has changed meanwhile is left alone.
    pub found: FoundRow,
    /// Row as it is to be.
    pub new: Value,
}

/// The decisions on a member in a campaign.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct DecisionsOfMember {
    /// Campaign.
    #[sqlx(try_from = "String")]
    pub coupon_code: CouponCode,
    /// Number of decisions.
    pub decisions: i64,
    /// Number of compensated ones whose give-back is due.
    pub give_backs: i64,
}

impl PersonalDataRepository<'_> {
    /// Returns the next page of a place, after the row of this key; empty at its end.
    pub async fn page(self, place: &Place, after: Option<&str>) -> Result<Vec<FoundRow>, RepoError> {
        let Place { table, key, kind, first, .. } = place;
        let select = sqlx::query_as(AssertSqlSafe(format!(
            "SELECT ({key})::text AS key, to_jsonb(f) AS row FROM {table} f
             WHERE {key} > $1::text::{kind} ORDER BY {key} LIMIT $2"
        )));
        let select = select.bind(after.unwrap_or(first).to_owned()).bind(PAGE_ROWS);
        self.long_read("look for a member", select.fetch_all(&self.pool())).await
    }

    /// Rewrites rows of a page, and counts them in the erasure, in one transaction. Returns the number of rows written.
    pub async fn rewrite(
        self,
        place: &'static Place,
        pseudonym: &MemberId,
        rows: Vec<RewrittenRow>,
        now: DateTime<Utc>,
    ) -> Result<i64, RepoError> {
        let (pseudonym, [delete, update]) = (pseudonym.as_str().to_owned(), rewriting(place));
        self.write("erase rows", move |pool| async move {
            let mut tx = pool.begin().await?;
            let mut written = 0;
            for RewrittenRow { found, new } in rows {
                if place.is_text_key() {
                    sqlx::query(AssertSqlSafe(delete.clone())).bind(&found.key).bind(&new).execute(&mut *tx).await?;
                }
                let update = sqlx::query(AssertSqlSafe(update.clone())).bind(&found.key).bind(&new).bind(&found.row);
                written += i64::try_from(update.execute(&mut *tx).await?.rows_affected()).unwrap_or(0);
            }
            erasures::count(&mut tx, &pseudonym, place.table, written, now).await?;
            tx.commit().await?;
            Ok(written)
        })
        .await
    }

    /// Returns the campaigns with decisions on a member, in the order of their codes.
    pub async fn decisions_of(self, member: &MemberId) -> Result<Vec<DecisionsOfMember>, RepoError> {
        let select = sqlx::query_as(
            "SELECT c.coupon_code, count(*) AS decisions,
                    count(*) FILTER (WHERE i.decision = 'COMPENSATED' AND i.given_back_at IS NULL) AS give_backs
             FROM coupon_issues i JOIN coupons c USING (coupon_id) WHERE i.member_id = $1 GROUP BY 1 ORDER BY 1",
        )
        .bind(member.as_str());
        self.long_read("count the decisions on a member", select.fetch_all(&self.pool())).await
    }

    /// Returns the decisions on a member, whole, oldest first.
    pub async fn decision_rows_of(self, member: &MemberId) -> Result<Vec<Value>, RepoError> {
        let select = sqlx::query_scalar(
            "SELECT to_jsonb(i) || jsonb_build_object('coupon_code', c.coupon_code)
             FROM coupon_issues i LEFT JOIN coupons c USING (coupon_id) WHERE i.member_id = $1 ORDER BY i.request_id",
        )
        .bind(member.as_str());
        self.long_read("read the decisions on a member", select.fetch_all(&self.pool())).await
    }

    /// Puts the pseudonym in the place of a member in all decisions of a campaign that is over, and notes in its row that it is
    /// not opened again. Returns the number of decisions; `None` when the campaign is not over.
    pub async fn rename_decisions(
        self,
        code: CouponCode,
        member: &MemberId,
        pseudonym: &MemberId,
        now: DateTime<Utc>,
    ) -> Result<Option<i64>, RepoError> {
        let (member, pseudonym) = (member.as_str().to_owned(), pseudonym.as_str().to_owned());
        self.write("erase decisions", move |pool| async move {
            let mut tx = pool.begin().await?;
            // Under the lock that opening takes: whoever comes second sees what the first one did.
            let coupon = lock(&mut tx, &code).await?;
            if coupon.is_none_or(|coupon| coupon.status != CouponStatus::Closed) {
                return Ok(None);
            }
            let renamed = sqlx::query(
                "UPDATE coupon_issues SET member_id = $3
                 WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = $1) AND member_id = $2",
            );
            let renamed = renamed.bind(code.as_str()).bind(&member).bind(&pseudonym).execute(&mut *tx).await?;
            sqlx::query(
                "UPDATE coupons SET members_erased_at = $2 WHERE coupon_code = $1 AND members_erased_at IS NULL",
            )
            .bind(code.as_str())
            .bind(now)
            .execute(&mut *tx)
            .await?;
            let renamed = i64::try_from(renamed.rows_affected()).unwrap_or(0);
            erasures::count(&mut tx, &pseudonym, "coupon_issues", renamed, now).await?;
            tx.commit().await?;
            Ok(Some(renamed))
        })
        .await
    }
}

/// The statements that rewrite a row of a place: one deletes the row of the new key, if there is one, where keys hold text; one
/// writes the columns of the place.
fn rewriting(Place { table, key, kind, member, columns, .. }: &Place) -> [String; 2] {
    let of = |row: &str, form: fn(&str, &str) -> String| {
        let columns = member.iter().chain(columns.iter());
        columns.map(|column| form(row, column)).collect::<Vec<_>>().join(", ")
    };
    let delete = format!(
        "DELETE FROM {table} f WHERE ({key})::text <> $1
         AND {key} = (SELECT {key} FROM jsonb_populate_record(NULL::{table}, $2) n)"
    );
    // Only what is written is compared: a number may have changed on its way through JSON.
    let update = format!(
        "UPDATE {table} f SET {} FROM jsonb_populate_record(NULL::{table}, $2) n, jsonb_populate_record(NULL::{table}, $3) o
         WHERE {} = $1::text::{kind} AND ROW({}) IS NOT DISTINCT FROM ROW({})",
        of("n", |row, column| format!("{column} = {row}.{column}")),
        place_key("f", key),
        of("f", |row, column| format!("{row}.{column}")),
        of("o", |row, column| format!("{row}.{column}")),
    );
    [delete, update]
}

/// The key of a row `alias`.
fn place_key(alias: &str, key: &str) -> String {
    key.split(" || ")
        .map(|part| if part.starts_with('\'') { part.to_owned() } else { format!("{alias}.{part}") })
        .collect::<Vec<_>>()
        .join(" || ")
}
