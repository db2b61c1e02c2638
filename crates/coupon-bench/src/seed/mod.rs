//! Filling the servers: rows by `COPY`, holder entries by `HSET`, both from the same members.

pub mod members;
pub mod rest;

use std::fmt::Write;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use coupon_e2e::stock::{self, Stock};
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use self::members::Members;
use crate::progress;

/// Code of the coupon.
pub const CODE: &str = "BENCH";

/// Rows that are sent at once.
const ROWS_AT_ONCE: u64 = 10_000;

/// Holder entries in one command; more would make Redis stand still for longer.
const ENTRIES_IN_A_COMMAND: usize = 500;

/// Days for which a coupon is valid.
pub const VALID_DAYS: i64 = 30;

/// The key of one part of the campaign in Redis.
pub fn key(part: &str) -> String {
    stock::key(CODE, part)
}

/// Writes the coupon, open, with so many units in all, and an ISSUED row of each member. Returns the coupon's key.
pub async fn rows(database: &mut PgConnection, members: &Members, total: u64) -> Result<i64> {
    let (count, total) = (i64::try_from(members.count)?, i64::try_from(total)?);
    // The data is worth nothing after a crash; the schema and its indexes stay as `migrate` made them.
    execute(database, "SET synchronous_commit = off; SET maintenance_work_mem = '512MB'; BEGIN").await?;
    let coupon_id: i64 = sqlx::query_scalar(
        "INSERT INTO coupons
             (coupon_code, status, total_quantity, issued_quantity, opens_at, valid_days, epoch, high_seq)
         VALUES ($1, 'OPEN', $5, $2, $3, $4, 1, $2)
         RETURNING coupon_id",
    )
    .bind(CODE)
    .bind(count)
    .bind(members.reserved_at(0))
    .bind(i32::try_from(VALID_DAYS)?)
    .bind(total)
    .fetch_one(&mut *database)
    .await?;
    // An index sorted once is made in a fraction of the time that millions of single entries take.
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT indexname::text, indexdef FROM pg_indexes
         WHERE tablename = 'coupon_issues' AND indexname <> 'coupon_issues_pkey'",
    )
    .fetch_all(&mut *database)
    .await?;
    for (name, _) in &indexes {
        execute(database, &format!("DROP INDEX {name}")).await?;
    }
    copy(database, coupon_id, members).await?;
    let indexing = progress::step("making the indexes");
    for (_, definition) in &indexes {
        execute(database, definition).await?;
    }
    execute(database, "COMMIT").await?;
    indexing.finish_and_clear();
    let _vacuuming = progress::step("vacuuming");
    execute(database, "VACUUM ANALYZE coupon_issues").await?;
    execute(database, "VACUUM ANALYZE coupons").await?;
    execute(database, "RESET synchronous_commit; RESET maintenance_work_mem").await?;
    Ok(coupon_id)
}

async fn copy(database: &mut PgConnection, coupon_id: i64, members: &Members) -> Result<()> {
    // A table emptied in the same transaction may be filled with rows that are never looked at again (FREEZE).
    execute(database, "TRUNCATE coupon_issues").await?;
    let statement = "COPY coupon_issues \
                     (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, decided_at, expires_at) \
                     FROM STDIN WITH (FREEZE)";
    let mut into = database.copy_in_raw(statement).await?;
    let bar = progress::counted("rows", members.count);
    for from in (0..members.count).step_by(usize::try_from(ROWS_AT_ONCE)?) {
        let until = (from + ROWS_AT_ONCE).min(members.count);
        into.send(lines(coupon_id, members, from..until)?.into_bytes()).await?;
        bar.set_position(until);
    }
    into.finish().await.context("the rows are not written")?;
    Ok(())
}

fn lines(coupon_id: i64, members: &Members, numbers: std::ops::Range<u64>) -> Result<String> {
    let mut lines = String::with_capacity(200 * usize::try_from(ROWS_AT_ONCE)?);
    let (mut reserved_at, mut times) = (None, String::new());
    for number in numbers {
        let one = members.reservation(number);
        let at = members.reserved_at(number);
        if reserved_at.replace(at) != Some(at) {
            // Decided 20 ms later.
            let (decided, expires) = (at + TimeDelta::milliseconds(20), at + TimeDelta::days(VALID_DAYS));
            times = [at, decided, expires].map(|time| time.to_rfc3339()).join("\t");
        }
        writeln!(lines, "{coupon_id}\t{}\t{}\tISSUED\t1\t{}\t{times}", one.request_id, one.member, one.seq)?;
    }
    Ok(lines)
}

/// Writes the holder entry of each member and the campaign's `meta`, as `begin_fill.lua` and `gate.lua` do.
pub async fn holders(stock: &Stock, members: &Members, total: u64) -> Result<()> {
    let bar = progress::counted("holder entries", members.count);
    for from in (0..members.count).step_by(ENTRIES_IN_A_COMMAND) {
        let until = (from + ENTRIES_IN_A_COMMAND as u64).min(members.count);
        let some = (from..until).map(|number| members.reservation(number));
        let some: Vec<(String, Uuid)> = some.map(|one| (one.member, one.request_id)).collect();
        stock.set_holders(CODE, &some).await.context("the holder entries are not written")?;
        bar.set_position(until);
    }
    let (count, total) = (members.count.to_string(), total.to_string());
    let opens_at = members.reserved_at(0).timestamp_millis().to_string();
    let meta = [
        ("status", "OPEN"),
        ("epoch", "1"),
        ("total", &total),
        ("total_version", "0"),
        ("opens_at", &opens_at),
        ("closes_at", "0"),
        ("seq", &count),
    ];
    stock.set_meta(CODE, &meta).await
}

async fn execute(database: &mut PgConnection, statement: &str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(database).await.context(statement.to_owned())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    #[test]
    fn a_line_of_the_copy_has_a_column_for_each_name() {
        let members = Members::until(Utc::now(), 1000);
        let lines = lines(7, &members, 10..12).unwrap();
        assert_eq!(lines.lines().count(), 2);
        for line in lines.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            assert_eq!(columns.len(), 9, "{line}");
            assert_eq!((columns[0], columns[3]), ("7", "ISSUED"));
        }
    }
}
