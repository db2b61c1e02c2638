//! The campaign that is repaired: in both servers, as it is after it has sold out and come to rest.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use rand::seq::index::sample;
use redis::{AsyncCommands, aio::MultiplexedConnection};
use sqlx::{Connection, PgConnection};

use crate::{
    place::Place,
    progress,
    seed::{
        self, key,
        members::{Members, Reservation},
        rest,
    },
};

/// Members whose marks are looked at after each run.
pub const SAMPLE: usize = 1000;

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
        let coupon_id = seed::rows(&mut database, &members, members.count).await?;
        seed::marks(&mut redis, &members, members.count).await?;
        let mut campaign = Self { members, coupon_id, database, redis };
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

    /// Takes the marks of these members away, as a Redis that has lost them.
    pub async fn lose(&mut self, missing: &[Reservation]) -> Result<()> {
        let members: Vec<&str> = missing.iter().map(|one| one.member.as_str()).collect();
        let gone: usize = self.redis.hdel(key("issued"), members).await.context("the marks are not removed")?;
        ensure!(gone == missing.len(), "only {gone} of {} marks were there to be removed", missing.len());
        Ok(())
    }
}
