//! Retention: what is old and done goes, in batches.

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::repo::{RepoError, retention::Purgeable};
use serde::Serialize;

use crate::Operations;

/// Rows looked at, and deleted at most, in one transaction.
const BATCH: i64 = 1000;
/// Rows looked at in one go to count them.
const LOOK: i64 = 20_000;

/// So many rows of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Purged {
    /// The table.
    pub table: Purgeable,
    /// Rows that went, or may go.
    pub rows: i64,
}

impl Operations {
    /// What was done with before this moment is so many days old now.
    pub fn days_ago(&self, days: u32) -> DateTime<Utc> {
        self.clock.now() - TimeDelta::days(i64::from(days))
    }

    /// How many rows of each table may go.
    pub async fn purgeable(&self, before: DateTime<Utc>) -> Result<Vec<Purged>, RepoError> {
        let mut all = Vec::new();
        for table in Purgeable::ALL {
            let (mut rows, mut from) = (0, None);
            loop {
                let step = self.database.retention().count_purgeable(table, before, from, LOOK).await?;
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

    /// Deletes what may go. `told` hears of each batch and says whether to go on. Whatever ends it on the way, it can be
    /// repeated; several at once leave each other's rows alone.
    pub async fn purge(
        &self,
        before: DateTime<Utc>,
        by: &str,
        mut told: impl FnMut(Purged) -> bool,
    ) -> Result<(), RepoError> {
        for table in Purgeable::ALL {
            let mut from = None;
            loop {
                let step = self.database.retention().purge(table, before, from, BATCH, self.actor(by)).await?;
                if !told(Purged { table, rows: step.rows }) {
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
