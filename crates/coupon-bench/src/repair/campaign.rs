//! The campaign that is repaired: in both servers, as it is after it has sold out and come to rest.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use rand::seq::index::sample;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use sqlx::{Connection, PgConnection};
use tokio::time::sleep;

use super::{
    members::{Members, Reservation},
    seed,
};
use crate::{machine::field, place::Place, progress};

/// Name of the coupon.
pub const CODE: &str = "BENCH";

/// Members whose marks are looked at after each run.
pub const SAMPLE: usize = 1000;

/// Longest time the servers may take to come to rest.
const PATIENCE: Duration = Duration::from_mins(15);

/// A campaign in a place of its own.
pub struct Campaign {
    /// Who holds its coupons.
    pub members: Members,
    /// Its key in PostgreSQL.
    pub coupon_id: i64,
    /// A connection to its database.
    pub database: PgConnection,
    /// A connection to its logical database.
    pub redis: MultiplexedConnection,
}

impl Campaign {
    /// Fills both servers and waits until they have come to rest.
    pub async fn seed(place: &Place, count: u32) -> Result<Self> {
        let members = Members::until(Utc::now(), count);
        let (mut database, mut redis) = (PgConnection::connect(&place.database_url).await?, place.redis.connection());
        let began = Instant::now();
        let coupon_id = seed::rows(&mut database, &members).await?;
        seed::marks(&mut redis, &members).await?;
        let mut campaign = Self { members, coupon_id, database, redis };
        campaign.settle().await?;
        progress::say(&format!("filled in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(campaign)
    }

    /// Waits until nothing of what was done before is still going on inside the servers: no file is rewritten and no
    /// memory freed in the background, and PostgreSQL has nothing to write at a checkpoint.
    pub async fn settle(&mut self) -> Result<()> {
        // Only some roles may; without it, a checkpoint falls into a measurement now and then.
        sqlx::query("CHECKPOINT").execute(&mut self.database).await.ok();
        let began = Instant::now();
        loop {
            let info: String = redis::cmd("INFO").query_async(&mut self.redis).await?;
            if is_at_rest(&info) {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "Redis does not come to rest");
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Some members, chosen anew each time.
    pub fn some(&self, count: usize) -> Result<Vec<Reservation>> {
        let all = usize::try_from(self.members.count)?;
        let numbers = sample(&mut rand::rng(), all, count.min(all));
        Ok(numbers.iter().map(|number| self.members.reservation(number as u64)).collect())
    }

    /// Takes the marks of these members away, as a Redis that has lost them.
    pub async fn lose(&mut self, missing: &[Reservation]) -> Result<()> {
        let members: Vec<&str> = missing.iter().map(|one| one.member.as_str()).collect();
        let gone: usize = self.redis.hdel(key("issued"), members).await.context("the marks are not removed")?;
        ensure!(gone == missing.len(), "only {gone} of {} marks were there to be removed", missing.len());
        Ok(())
    }
}

/// The key of one part of the campaign.
pub fn key(part: &str) -> String {
    format!("coupon:{{{CODE}}}:{part}")
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
