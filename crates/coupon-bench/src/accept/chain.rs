//! Accepting and writing at once: how many rows a second, and what each costs whom.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use coupon_e2e::{process::Process, world::World};

use super::{CODE, PLENTY, capacity, promises};
use crate::{
    limits::{Machines, bare::PROBE_REQUESTS, each_us, table::Collected},
    load::Load,
    measure::usage,
    progress,
};

/// A world with all three services running.
pub struct Stage {
    pub api: Process,
    pub issue_consumer: Process,
    pub dlq_consumer: Process,
    pub address: SocketAddr,
    /// Last, so that the services end before their world does.
    pub world: World,
}

impl Stage {
    /// Starts them on a fresh world.
    pub async fn set() -> Result<Self> {
        let world = crate::limits::world().await?;
        world.open_campaign(CODE, PLENTY).await?;
        let (api, issue_consumer) = (world.start_api().await?, world.start_issue_consumer().await?);
        let dlq_consumer = world.start_dlq_consumer().await?;
        let address = capacity::address(&api)?;
        Ok(Self { api, issue_consumer, dlq_consumer, address, world })
    }

    /// Full load while rows are written. Returns how many members have asked so far.
    pub async fn full_load(&self, seconds: f64, machines: &Machines, collected: &mut Collected) -> Result<usize> {
        let running = progress::step("all services at full load");
        let (requests, address) = capacity::prepare(&self.world, &self.api, seconds).await?;
        let prepared = requests.len();
        let written_before = promises::written(&self.world).await?;
        let before = self.cpu_ms(machines)?;
        let outcome = Load::capacity(address, requests, seconds).run().await?;
        capacity::log(&self.world, &outcome);
        capacity::accepted_all(&outcome)?;
        let rows = promises::written(&self.world).await? - written_before;
        let after = self.cpu_ms(machines)?;
        running.finish_and_clear();

        let from = outcome.started_at + TimeDelta::from_std(outcome.took / 10)?;
        let to = outcome.started_at + TimeDelta::from_std(outcome.took * 9 / 10)?;
        let within: i64 =
            sqlx::query_scalar("SELECT count(*) FROM coupon_issues WHERE decided_at >= $1 AND decided_at < $2")
                .bind(from)
                .bind(to)
                .fetch_one(&self.world.db)
                .await?;
        let seconds = (outcome.took * 8 / 10).as_secs_f64();
        collected.put("chain.per_second", f64::from(i32::try_from(within)?) / seconds);
        capacity::remark("chain.load_cpu_us", &outcome, 202, collected);
        let used = std::array::from_fn(|which| after[which].saturating_sub(before[which]));
        put_costs(CHAIN, (used, outcome.cpu_ms), rows, machines, collected);
        Ok(PROBE_REQUESTS + prepared)
    }

    /// CPU time so far of issuer-api, issue-consumer, Redis, Kafka and PostgreSQL.
    pub fn cpu_ms(&self, machines: &Machines) -> Result<[u64; 5]> {
        let of = |process: &Process| Some(usage::stat(process.pid())?.cpu_ms);
        Ok([
            of(&self.api).context("issuer-api has ended")?,
            of(&self.issue_consumer).context("issue-consumer has ended")?,
            machines.redis.cpu_ms(),
            machines.kafka.cpu_ms(),
            machines.postgres.cpu_ms(),
        ])
    }
}

/// Names of what each row costs whom: issuer-api, issue-consumer, Redis, Kafka, PostgreSQL, and the load generator.
pub type CostIds = [&'static str; 6];

const CHAIN: CostIds = [
    "chain.api_cpu_us",
    "chain.consumer_cpu_us",
    "chain.redis_cpu_us",
    "chain.kafka_cpu_us",
    "chain.postgres_cpu_us",
    "chain.load_cpu_us",
];

/// What each row has cost whom: the five of [`Stage::cpu_ms`], and the load generator.
pub fn put_costs(
    [api, consumer, redis, kafka, postgres, load]: CostIds,
    (used, load_ms): ([u64; 5], u64),
    rows: usize,
    machines: &Machines,
    collected: &mut Collected,
) {
    collected.put(api, each_us(used[0], rows));
    collected.put(consumer, each_us(used[1], rows));
    collected.put_cpu(redis, &machines.redis, used[2], rows);
    collected.put_cpu(kafka, &machines.kafka, used[3], rows);
    // A worker of PostgreSQL that ended meanwhile takes its time with it; the consumer keeps its connections.
    collected.put_cpu(postgres, &machines.postgres, used[4], rows);
    collected.put(load, each_us(load_ms, rows));
}
