//! One drain: a world of its own, its coupons, its events, its consumers.

use std::collections::BTreeMap;

use anyhow::Result;
use coupon_e2e::{process::Process, world::World};

use super::{
    check,
    copy::{self, Copied},
    fill,
    load::Load,
    watch::{self, Drained},
};
use crate::{
    environment::{self, Environment},
    measure::servers::Machines,
    seed::rest,
};

/// The world of one drain.
pub struct Site {
    /// A database and topics of its own; removed when it is dropped.
    pub world: World,
    /// The events to be written.
    pub load: Load,
    /// Keys of the coupons in PostgreSQL.
    pub coupon_ids: Vec<i64>,
    brokers: String,
    machines: Machines,
    ends: BTreeMap<i32, i64>,
}

impl Site {
    /// A new world with these coupons, its topic empty.
    pub async fn empty(environment: &Environment, load: Load) -> Result<Self> {
        let world = environment::world().await?;
        let coupon_ids = fill::coupons(&world.db, &load).await?;
        Ok(Self::in_world(environment, world, load, coupon_ids))
    }

    /// A new world with these coupons, in whose topic all events wait.
    pub async fn filled(environment: &Environment, load: Load) -> Result<Self> {
        let mut site = Self::empty(environment, load).await?;
        site.fill().await?;
        Ok(site)
    }

    /// Makes a site in a world whose campaigns exist already.
    pub fn in_world(environment: &Environment, world: World, load: Load, coupon_ids: Vec<i64>) -> Self {
        let (brokers, machines) = (environment.kafka_brokers().to_owned(), Machines::find(environment));
        Self { world, load, coupon_ids, brokers, machines, ends: BTreeMap::new() }
    }

    /// Publishes the events of the load to the topic.
    pub async fn fill(&mut self) -> Result<()> {
        self.ends.extend(fill::topic(&self.brokers, self.world.topic.name(), &self.load).await?);
        Ok(())
    }

    /// Publishes the events of the load to the topic, so many a second.
    pub async fn fill_at(&mut self, rate: f64) -> Result<()> {
        self.ends.extend(fill::topic_at(&self.brokers, self.world.topic.name(), &self.load, Some(rate)).await?);
        Ok(())
    }

    /// Measures `COPY` of the same rows and leaves the table empty.
    pub async fn copy(&self) -> Result<Copied> {
        copy::measure(&self.world.db, &self.machines.postgres, &self.load, &self.coupon_ids).await
    }

    /// Has one consumer write everything, checks what it has written, and lets it go.
    pub async fn drain(&self) -> Result<Drained> {
        rest::checkpoint(&self.world.db).await;
        // Watched from its start: it begins to write before it is seen to be ready.
        let consumer = self.world.start_issue_consumer().without_waiting().await?;
        let drained = self.watch(&[&consumer]).await?;
        self.check().await?;
        Ok(drained)
    }

    /// Watches these consumers until everything that can be written is.
    pub async fn watch(&self, consumers: &[&Process]) -> Result<Drained> {
        let Self { world, machines, load, .. } = self;
        watch::until(&world.db, machines, consumers, load.before(), load.healthy()).await
    }

    /// Whether everything that was to be written is, and nothing else.
    pub async fn check(&self) -> Result<()> {
        check::is_whole(&self.world, &self.load, &self.coupon_ids, &self.ends).await
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{AssertSqlSafe, raw_sql};

    use super::*;

    #[tokio::test]
    async fn a_row_that_is_lost_or_changed_or_too_many_is_seen_in_the_real_table() {
        let environment = Environment::of_process().expect("the servers are named; see scripts/test");
        let site = Site::filled(&environment, Load::of(1000, 3).poisoned()).await.unwrap();
        raw_sql(include_str!("../poison/poison.sql")).execute(&site.world.db).await.unwrap();
        let _consumer = site.world.start_issue_consumer().await.unwrap();
        site.check().await.expect("what the real issue-consumer has written is whole");
        let damages = [
            ("have no row", "DELETE FROM coupon_issues WHERE seq = 7 AND coupon_id = 1"),
            ("differ from theirs", "UPDATE coupon_issues SET member_id = 'other' WHERE seq = 8 AND coupon_id = 1"),
            ("count other", "UPDATE coupons SET issued_quantity = issued_quantity - 1 WHERE coupon_id = 2"),
        ];
        for (told, damage) in damages {
            raw_sql(AssertSqlSafe(damage)).execute(&site.world.db).await.unwrap();
            let error = site.check().await.expect_err(damage).to_string();
            assert!(error.contains(told), "{damage}: {error}");
        }
    }
}
