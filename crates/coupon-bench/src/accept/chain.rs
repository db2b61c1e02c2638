//! Accepting and writing at once: how many rows a second, and what each costs whom.

use std::net::SocketAddr;

use anyhow::Result;
use chrono::TimeDelta;
use coupon_e2e::{process::Process, world::World};

use super::{CODE, PLENTY, capacity, promises};
use crate::{
    environment::Environment,
    limits::{bare::PROBE_REQUESTS, table::Collected},
    load::Load,
    measure::servers::{Cpu, Machines},
    progress,
    tokens::start_api,
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
    pub async fn set(environment: &Environment) -> Result<Self> {
        let world = environment.world().await?;
        world.open_campaign(CODE, PLENTY).await?;
        let (api, issue_consumer) = (start_api(&world).await?, world.start_issue_consumer().await?);
        let dlq_consumer = world.start_dlq_consumer().await?;
        let address = capacity::address(&api)?;
        Ok(Self { api, issue_consumer, dlq_consumer, address, world })
    }

    /// Full load while rows are written. Returns how many members have asked so far, and the rows written a second.
    pub async fn full_load(
        &self,
        seconds: f64,
        machines: &Machines,
        collected: &mut Collected,
    ) -> Result<(usize, f64)> {
        let _running = progress::step("all services at full load");
        let (requests, address) = capacity::prepare(&self.world, &self.api, seconds).await?;
        let prepared = requests.len();
        let written_before = promises::written(&self.world).await?;
        let before = self.cpu(machines)?;
        let outcome = Load::capacity(address, requests, seconds).run().await?;
        capacity::log(&self.world, &outcome);
        capacity::accepted_all(&outcome)?;
        let rows = promises::written(&self.world).await? - written_before;
        let used = self.cpu(machines)?.since(&before);

        let from = outcome.started_at + TimeDelta::from_std(outcome.took / 10)?;
        let to = outcome.started_at + TimeDelta::from_std(outcome.took * 9 / 10)?;
        let within: i64 =
            sqlx::query_scalar("SELECT count(*) FROM coupon_issues WHERE decided_at >= $1 AND decided_at < $2")
                .bind(from)
                .bind(to)
                .fetch_one(&self.world.db)
                .await?;
        let seconds = (outcome.took * 8 / 10).as_secs_f64();
        let per_second = f64::from(i32::try_from(within)?) / seconds;
        collected.put("chain.per_second", per_second);
        capacity::remark("chain.load_cpu_us", &outcome, 202, collected);
        collected.put_cpu("chain", &used, outcome.cpu_ms, rows);
        Ok((PROBE_REQUESTS + prepared, per_second))
    }

    /// All of them, by their names in figures of memory.
    pub fn services(&self) -> [(&'static str, &Process); 3] {
        [("issuer_api", &self.api), ("issue_consumer", &self.issue_consumer), ("dlq_consumer", &self.dlq_consumer)]
    }

    /// CPU time so far of issuer-api, issue-consumer and the servers.
    pub fn cpu(&self, machines: &Machines) -> Result<Cpu> {
        machines.cpu(&[("api", &self.api), ("consumer", &self.issue_consumer)])
    }
}
