//! Retention: rows that are old and done are purged in batches.

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::repo::{
    RepoError,
    retention::{Bound, Purgeable},
};
use serde::Serialize;

use crate::Operations;

/// Rows read, and purged at most, in one transaction.
const PURGE_BATCH_ROWS: i64 = 1000;
/// Rows read by one query that counts.
const COUNT_BATCH_ROWS: i64 = 20_000;

/// A number of rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// The table.
    pub table: Purgeable,
    /// Rows purged, or purgeable.
    pub rows: i64,
}

impl Operations {
    /// Returns the time this many days ago.
    pub fn days_ago(&self, days: u32) -> DateTime<Utc> {
        self.clock.now() - TimeDelta::days(i64::from(days))
    }

    /// Returns the number of purgeable rows of each table.
    pub async fn purgeable(&self, bound: Bound) -> Result<Vec<Purged>, RepoError> {
        let mut all = Vec::new();
        for table in Purgeable::ALL {
            let (mut rows, mut from) = (0, None);
            loop {
                let step = self.database.retention().count_purgeable(table, bound, from, COUNT_BATCH_ROWS).await?;
                rows += step.rows;
                from = step.next;
                if from.is_none() {
                    break;
                }
            }
            all.push(Purged { table, rows });
        }
        Ok(all)
    }

    /// Purges every purgeable row, and forgets login codes that are worth nothing any more. `progress` gets each batch and returns
    /// whether to go on. May be repeated, whatever ended an earlier call; several processes at once leave each other's rows alone.
    pub async fn purge(&self, bound: Bound, mut progress: impl FnMut(Purged) -> bool) -> Result<(), RepoError> {
        self.database.operators().forget_login_codes(self.clock.now()).await?;
        for table in Purgeable::ALL {
            let mut from = None;
            loop {
                let step = self.database.retention().purge(table, bound, from, PURGE_BATCH_ROWS, self.me()).await?;
                if !progress(Purged { table, rows: step.rows }) {
                    return Ok(());
                }
                from = step.next;
                if from.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}
