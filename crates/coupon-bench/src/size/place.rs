//! A campaign of one size in a world of its own: so many rows, so many holder entries, and room for more.

use anyhow::{Context, Result};
use chrono::Utc;
use redis::{aio::MultiplexedConnection, cmd};

use super::log::Logged;
use crate::{
    drain::{load::Load, site::Site, watch::Drained},
    environment::{self, Environment},
    machine::field,
    measure::{
        servers::{Machines, Server},
        spread::{as_f64, each_us},
    },
    progress,
    seed::{self, members::Members, rest},
};

/// Units that are still free, more than all rounds take.
const FREE_UNITS: u64 = 100_000_000;

/// From this size on what a round adds changes it by a percent at most, and it is not filled anew each time.
const MIN_LARGE_SIZE: u64 = 5_000_000;

/// A campaign of one size.
pub struct Sized {
    /// Members that hold a coupon.
    pub members: Members,
    /// Its world; what is drained there changes with each round.
    pub site: Site,
    /// Connection to the Redis database with its holder entries.
    pub redis: MultiplexedConnection,
    /// Memory of Redis for each holder entry, in bytes.
    pub entry_bytes: f64,
    /// Number of rows of the coupon.
    rows: u64,
    postgres: Server,
}

/// Cost of a written row at one size.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// Figures of the drain.
    pub drained: Drained,
    /// CPU time of PostgreSQL in the checkpoint afterwards, for each row, in µs.
    pub checkpoint_us: f64,
    /// What the log of PostgreSQL took for each row, the whole server's.
    pub log: Logged,
}

impl Sized {
    /// Fills PostgreSQL and Redis with `count` issued coupons.
    pub async fn fill(environment: &Environment, count: u32) -> Result<Self> {
        progress::say(&format!("filling {}", label(u64::from(count))));
        let members = Members::until(Utc::now(), count);
        let world = environment::world().await?;
        let mut redis = world.stock.redis();
        let mut database = world.db.acquire().await?;
        let coupon_id = seed::rows(&mut database, &members, members.count + FREE_UNITS).await?;
        rest::settle(&mut database, &mut redis).await?;
        let before = used_memory(&mut redis).await?;
        seed::holders(&world.stock, &members, members.count + FREE_UNITS).await?;
        rest::settle(&mut database, &mut redis).await?;
        let entries = used_memory(&mut redis).await?.saturating_sub(before);
        let load = Load::of_members(members);
        Ok(Self {
            members,
            site: Site::in_world(environment, world, load, vec![coupon_id]),
            redis,
            entry_bytes: as_f64(entries) / as_f64(members.count),
            rows: members.count,
            postgres: Machines::find(environment).postgres,
        })
    }

    /// What the figures of this size are called by: `10k`, `1m`.
    pub fn label(&self) -> String {
        label(self.members.count)
    }

    /// Has a real issue-consumer write new events into a table of this size, between two checkpoints: `events`, or five times
    /// as many as this size has members where that is less, so that a small campaign is still small at the end.
    pub async fn write(&mut self, events: u32, round: u32) -> Result<Written> {
        let mut database = self.site.world.db.acquire().await?;
        if self.rows > self.members.count && self.members.count < MIN_LARGE_SIZE {
            sqlx::query("DELETE FROM coupons").execute(&mut *database).await?;
            let coupon_id = seed::rows(&mut database, &self.members, self.members.count + FREE_UNITS).await?;
            (self.site.coupon_ids, self.rows) = (vec![coupon_id], self.members.count);
        }
        let events = events.min(u32::try_from(self.members.count * 5)?);
        self.site.load = Load::of_members(self.members.newcomers(Utc::now(), events, self.rows, round));
        self.site.fill().await?;
        rest::checkpoint(&mut *database).await;
        let before = Logged::read(&mut database).await?;
        let drained = self.site.drain().await?;
        let log = Logged::read(&mut database).await?;
        // Pages that are written now were touched by these rows.
        let cpu = self.postgres.cpu_ms();
        rest::checkpoint(&mut *database).await;
        let checkpoint_us = each_us(self.postgres.cpu_ms().saturating_sub(cpu), u64::from(events));
        self.rows += u64::from(events);
        Ok(Written { drained, checkpoint_us, log: log.since(before, f64::from(events)) })
    }
}

impl Written {
    /// CPU time of PostgreSQL, its checkpoint included, and of issue-consumer for each row, in µs.
    pub fn us_per_row(&self) -> f64 {
        self.drained.postgres_us + self.drained.consumer_us + self.checkpoint_us
    }
}

/// Returns a count in few characters, such as `10k`.
pub fn label(count: u64) -> String {
    match count {
        1_000_000.. if count.is_multiple_of(1_000_000) => format!("{}m", count / 1_000_000),
        1000.. if count.is_multiple_of(1000) => format!("{}k", count / 1000),
        _ => count.to_string(),
    }
}

async fn used_memory(redis: &mut MultiplexedConnection) -> Result<u64> {
    let info: String = cmd("INFO").arg("memory").query_async(redis).await?;
    let used = field(&info, "used_memory").context("Redis does not tell its used_memory")?;
    Ok(used.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_called_by_few_characters() {
        let labels = [10_000, 1_000_000, 10_000_000, 1_500_000, 12_345].map(label);
        assert_eq!(labels, ["10k", "1m", "10m", "1500k", "12345"]);
    }
}
