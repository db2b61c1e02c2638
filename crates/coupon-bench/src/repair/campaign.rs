//! The campaign that is repaired: in both servers, as it is after it has sold out and come to rest.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use coupon_e2e::world::World;
use rand::seq::index::sample;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use sqlx::{Connection, PgConnection};

use crate::{
    progress,
    seed::{
        self, key,
        members::{Members, Reservation},
        rest,
    },
};

/// Hash and field that the client of Redis asks for: another key than the campaign's.
pub const ASKED: (&str, &str) = ("coupon-bench", "asked");

/// Members whose holder entries are looked at after each run.
pub const SAMPLED_MEMBERS: usize = 1000;

/// A campaign in a world of its own.
pub struct Campaign {
    /// Members who hold its coupons.
    pub members: Members,
    /// Key of the campaign in PostgreSQL.
    pub coupon_id: i64,
    /// A connection to its database.
    pub database: PgConnection,
    /// A connection to its logical database.
    pub redis: MultiplexedConnection,
    /// Last, so that the connections end before their world does.
    pub world: World,
}

impl Campaign {
    /// Fills both servers and waits until they have come to rest.
    pub async fn seed(world: World, count: u32) -> Result<Self> {
        progress::say(&format!("working in the world of {}", world.topic.name()));
        let members = Members::until(Utc::now(), count);
        let (mut database, mut redis) = (PgConnection::connect(&world.database_url).await?, world.stock.redis());
        let began = Instant::now();
        let coupon_id = seed::rows(&mut database, &members, members.count).await?;
        seed::holders(&world.stock, &members, members.count).await?;
        let () = redis.hset(ASKED.0, ASKED.1, "").await?;
        let mut campaign = Self { members, coupon_id, database, redis, world };
        campaign.settle().await?;
        progress::say(&format!("filled in {:.1} s", began.elapsed().as_secs_f64()));
        Ok(campaign)
    }

    /// Waits until the servers have come to rest.
    pub async fn settle(&mut self) -> Result<()> {
        rest::settle(&mut self.database, &mut self.redis).await
    }

    /// Some members, chosen anew each time.
    pub fn some(&self, count: usize) -> Result<Vec<Reservation>> {
        let all = usize::try_from(self.members.count)?;
        let numbers = sample(&mut rand::rng(), all, count.min(all));
        Ok(numbers.iter().map(|number| self.members.reservation(number as u64)).collect())
    }

    /// Takes the holder entries of these members away, as a Redis that has lost them.
    pub async fn lose(&mut self, missing: &[Reservation]) -> Result<()> {
        let members: Vec<&str> = missing.iter().map(|one| one.member.as_str()).collect();
        let gone: usize =
            self.redis.hdel(key("issued"), members).await.context("the holder entries are not removed")?;
        ensure!(gone == missing.len(), "only {gone} of {} holder entries were there to be removed", missing.len());
        Ok(())
    }
}
