//! Failures made where they really happen: a trigger in the database refuses to write chosen coupons.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::world::World;

/// How the writing of a coupon fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailMode {
    /// Fails every time, with an error that no table classifies (P0001).
    Always,
    /// The same, until this long after the first time: for a row that shares its statement with others, and so is
    /// written more often than it is tried.
    For(Duration),
    /// The same, the first so many times: for a row that stands alone, where an execution is an attempt.
    Times(i64),
    /// Every time, as a violated constraint (23514): the database can never take this row.
    Permanently,
    /// Every time, with this SQLSTATE.
    With(&'static str),
    /// Every time, with an error of this many bytes.
    Wordy(i32),
    /// Every time, by taking the connection down.
    Disconnects,
}

impl FailMode {
    fn sqlstate(self) -> Option<&'static str> {
        match self {
            Self::Always | Self::For(_) | Self::Times(_) | Self::Wordy(_) => Some("P0001"),
            Self::Permanently => Some("23514"),
            Self::With(sqlstate) => Some(sqlstate),
            Self::Disconnects => None,
        }
    }

    fn error_bytes(self) -> Option<i32> {
        match self {
            Self::Wordy(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn fails_for_ms(self) -> Option<i64> {
        match self {
            Self::For(time) => i64::try_from(time.as_millis()).ok(),
            _ => None,
        }
    }

    fn fails_times(self) -> Option<i64> {
        match self {
            Self::Times(times) => Some(times),
            _ => None,
        }
    }
}

/// A failure in force. It stays until it is lifted or its database is gone.
#[derive(Debug)]
pub struct Rule {
    db: PgPool,
    id: i64,
}

impl Rule {
    /// Makes the writing of a campaign's coupons fail: those of one member, or all.
    pub async fn add(db: &PgPool, coupon: &str, member: Option<&str>, mode: FailMode) -> Result<Self> {
        install(db).await.context("the trigger for forced failures")?;
        let id = sqlx::query_scalar("SELECT forced_failures.add($1, $2, $3, $4, $5, $6)")
            .bind(coupon)
            .bind(member)
            .bind(mode.fails_for_ms())
            .bind(mode.fails_times())
            .bind(mode.sqlstate())
            .bind(mode.error_bytes())
            .fetch_one(db)
            .await?;
        Ok(Self { db: db.clone(), id })
    }

    /// Returns when the database was asked to write such a row: the first twelve times, by its own clock.
    pub async fn executions(&self) -> Result<Vec<DateTime<Utc>>> {
        let executions = sqlx::query_scalar("SELECT forced_failures.executions($1)");
        Ok(executions.bind(self.id).fetch_all(&self.db).await?)
    }

    /// Removes the trigger, which ends the failure.
    pub async fn lift(&self) -> Result<()> {
        sqlx::query("DELETE FROM forced_failures.rules WHERE rule_id = $1").bind(self.id).execute(&self.db).await?;
        Ok(())
    }
}

/// A disk without room for anything: every write to the tables of the pipeline fails with 53100, the probe's too.
#[derive(Debug)]
pub struct FullDisk {
    db: PgPool,
}

impl FullDisk {
    /// Makes all writes of the tables fail as on a full disk.
    pub async fn of(db: &PgPool) -> Result<Self> {
        sqlx::raw_sql(include_str!("full_disk.sql")).execute(db).await?;
        Ok(Self { db: db.clone() })
    }

    /// Lets the writes succeed again.
    pub async fn make_room(self) -> Result<()> {
        sqlx::raw_sql("DROP SCHEMA full_disk CASCADE").execute(&self.db).await?;
        Ok(())
    }
}

/// Removes the trigger, its rules and everything it remembers.
pub async fn uninstall(db: &PgPool) -> Result<()> {
    sqlx::raw_sql("DROP SCHEMA IF EXISTS forced_failures CASCADE").execute(db).await?;
    Ok(())
}

async fn install(db: &PgPool) -> Result<()> {
    let mut transaction = db.begin().await?;
    // Two who install at once would both find nothing.
    sqlx::raw_sql("LOCK TABLE public.coupon_issues IN SHARE ROW EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let there: bool = sqlx::query_scalar("SELECT to_regnamespace('forced_failures') IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await?;
    if !there {
        sqlx::raw_sql(include_str!("forced_failures.sql")).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

impl World {
    /// Makes the writing of one member's coupon fail.
    pub async fn fail_member(&self, coupon: &str, member: &str, mode: FailMode) -> Result<Rule> {
        Rule::add(&self.db, coupon, Some(member), mode).await
    }

    /// Makes the writing of every coupon of a campaign fail.
    pub async fn fail_campaign(&self, coupon: &str, mode: FailMode) -> Result<Rule> {
        Rule::add(&self.db, coupon, None, mode).await
    }
}
