//! What PostgreSQL has put into its log, and the checkpoints that it has made.

use anyhow::Result;
use sqlx::{AssertSqlSafe, PgConnection};

/// Counts of the whole server: since it was set up, or between two looks for each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Logged {
    /// Bytes of the log.
    pub bytes: f64,
    /// Pages that are in the log as a whole.
    pub images: f64,
    /// Checkpoints.
    pub checkpoints: f64,
}

impl Logged {
    /// Reads the counts as they are now. Sessions that still run may owe the last second of theirs.
    pub async fn read(database: &mut PgConnection) -> Result<Self> {
        let is_newer: bool = sqlx::query_scalar("SELECT current_setting('server_version_num')::integer >= 170000")
            .fetch_one(&mut *database)
            .await?;
        let checkpoints = if is_newer {
            "SELECT num_timed + num_requested FROM pg_stat_checkpointer"
        } else {
            "SELECT checkpoints_timed + checkpoints_req FROM pg_stat_bgwriter"
        };
        let counts = format!(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8, wal_fpi::float8, ({checkpoints})::float8 FROM pg_stat_wal"
        );
        let (bytes, images, checkpoints) = sqlx::query_as(AssertSqlSafe(counts)).fetch_one(database).await?;
        Ok(Self { bytes, images, checkpoints })
    }

    /// What came since then: bytes and images for each of so many rows, checkpoints in all.
    pub fn since(self, before: Self, rows: f64) -> Self {
        Self {
            bytes: (self.bytes - before.bytes) / rows,
            images: (self.images - before.images) / rows,
            checkpoints: self.checkpoints - before.checkpoints,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_images_are_of_each_row_and_checkpoints_are_all() {
        let before = Logged { bytes: 100.0, images: 10.0, checkpoints: 3.0 };
        let after = Logged { bytes: 500.0, images: 30.0, checkpoints: 5.0 };
        assert_eq!(after.since(before, 20.0), Logged { bytes: 20.0, images: 1.0, checkpoints: 2.0 });
    }
}
