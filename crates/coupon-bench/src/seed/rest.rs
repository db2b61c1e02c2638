//! When servers have come to rest after much was written to them.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use redis::aio::MultiplexedConnection;
use sqlx::{PgConnection, PgExecutor};
use tokio::time::sleep;

use crate::machine::field;

/// Longest time the servers may take to come to rest.
const AT_REST_WITHIN: Duration = Duration::from_mins(15);

/// Waits until nothing of what was done before is still going on inside the servers: no file is rewritten and no
/// memory freed in the background, and PostgreSQL has nothing to write at a checkpoint.
pub async fn settle(database: &mut PgConnection, redis: &mut MultiplexedConnection) -> Result<()> {
    checkpoint(&mut *database).await;
    let began = Instant::now();
    loop {
        let info: String = redis::cmd("INFO").query_async(redis).await?;
        if is_at_rest(&info) {
            return Ok(());
        }
        ensure!(began.elapsed() < AT_REST_WITHIN, "Redis does not come to rest");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Has PostgreSQL write all changed pages to disk, if its role may.
pub async fn checkpoint(database: impl PgExecutor<'_>) {
    // Only some roles may; without it, a checkpoint falls into a measurement now and then.
    sqlx::query("CHECKPOINT").execute(database).await.ok();
}

fn is_at_rest(info: &str) -> bool {
    let busy = [
        "aof_rewrite_in_progress",
        "aof_rewrite_scheduled",
        "rdb_bgsave_in_progress",
        "lazyfree_pending_objects",
        "loading",
    ];
    busy.iter().all(|name| field(info, name).is_none_or(|value| value == "0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_works_in_the_background_is_not_at_rest() {
        let info = "# Persistence\r\nloading:0\r\naof_rewrite_in_progress:0\r\nlazyfree_pending_objects:0\r\n";
        assert!(is_at_rest(info));
        assert!(!is_at_rest(&info.replace("progress:0", "progress:1")));
        assert!(!is_at_rest(&info.replace("objects:0", "objects:3")));
    }
}
