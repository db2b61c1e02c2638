//! The limit: the same rows by one `COPY` into the same table with its indexes.

use std::{fmt::Write, time::Instant};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use sqlx::PgPool;

use super::load::Load;
use crate::{
    measure::{servers::Server, spread::as_f64},
    seed::{VALID_DAYS, rest},
};

/// Bytes that are sent at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The columns that issue-consumer writes; the rest has defaults.
const STATEMENT: &str = "COPY coupon_issues \
    (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at) FROM STDIN";

/// Rate and cost of one `COPY`.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// Rows a second, with the commit.
    pub rows_per_second: f64,
    /// CPU time of PostgreSQL for each row, in µs.
    pub postgres_us: f64,
}

/// Copies a row of each event into the empty table and empties it again.
///
/// The text is prepared before, and sent over one connection with the server's own settings, which is what any other
/// client meets too: above all, the commit waits for the disk.
pub async fn measure(database: &PgPool, postgres: &Server, load: &Load, coupon_ids: &[i64]) -> Result<Copied> {
    let mut database = database.acquire().await?;
    let chunks = prepared(load, coupon_ids)?;
    rest::checkpoint(&mut *database).await;
    let (cpu, began) = (postgres.cpu_ms(), Instant::now());
    let mut into = database.copy_in_raw(STATEMENT).await?;
    for chunk in &chunks {
        into.send(chunk.as_bytes()).await?;
    }
    let rows = into.finish().await.context("the rows are not copied")?;
    let (took, cpu) = (began.elapsed(), postgres.cpu_ms() - cpu);
    ensure!(rows == load.events(), "{rows} rows were copied instead of {}", load.events());
    sqlx::query("TRUNCATE coupon_issues").execute(&mut *database).await?;
    rest::checkpoint(&mut *database).await;
    let rows = as_f64(rows);
    Ok(Copied { rows_per_second: rows / took.as_secs_f64(), postgres_us: as_f64(cpu) * 1000.0 / rows })
}

fn prepared(load: &Load, coupon_ids: &[i64]) -> Result<Vec<String>> {
    let mut chunks = Vec::new();
    let mut chunk = String::with_capacity(CHUNK_BYTES + 1024);
    for number in 0..load.events() {
        let one = load.reservation(number);
        let coupon = coupon_ids.get(usize::try_from(load.coupon_of(number))?).context("the coupon has no key")?;
        let at = load.members.reserved_at(number);
        let (reserved, expires) = (at.to_rfc3339(), (at + TimeDelta::days(VALID_DAYS)).to_rfc3339());
        let (id, member, seq) = (one.request_id, one.member, one.seq);
        writeln!(chunk, "{coupon}\t{id}\t{member}\tISSUED\t1\t{seq}\t{reserved}\t{expires}")?;
        if chunk.len() >= CHUNK_BYTES {
            chunks.push(std::mem::replace(&mut chunk, String::with_capacity(CHUNK_BYTES + 1024)));
        }
    }
    chunks.push(chunk);
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_has_a_row_with_its_coupon() {
        let chunks = prepared(&Load::of(20_000, 2), &[71, 72]).unwrap();
        assert!(chunks.len() > 1, "it is sent in parts");
        let text = chunks.concat();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(rows.len(), 20_000);
        assert!(rows.iter().all(|row| row.len() == 8));
        assert_eq!((rows[2][0], rows[3][0], rows[3][5]), ("71", "72", "2"));
    }
}
