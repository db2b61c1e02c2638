//! What is compared: the pipeline with all its services, and rows of PostgreSQL behind a server of their own. Both get the same
//! load, and both are checked after it.

use std::{collections::HashMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{process::Process, world::World};
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::{PgPool, raw_sql};
use uuid::Uuid;

use super::check;
use crate::{
    accept::{PLENTY, accepted_all, address, hold, log, written},
    environment::Environment,
    limits::bare::{Bare, PROBE_REQUESTS, PROBE_SECONDS, enough},
    load::{Load, Outcome, Requests, Schedule, quantile_ms, request_id},
    measure::{
        servers::{Cpu, Machines},
        spread::each_us,
    },
    progress,
    seed::rest,
    tokens::start_api,
};

/// Campaigns that are opened at once.
const OPENED_AT_ONCE: usize = 4;

/// One of the two, ready for load.
pub struct Contender {
    system: System,
    address: SocketAddr,
    machines: Machines,
    codes: Vec<String>,
    asked: usize,
    /// Last, so that the processes end before their world does.
    world: World,
}

enum System {
    Pipeline {
        api: Process,
        issue_consumer: Process,
        dlq_consumer: Process,
    },
    /// With the request by which each member was given a coupon.
    Rows {
        server: Bare,
        told: HashMap<String, Uuid>,
    },
}

/// CPU time for each accepted request, in µs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Of the HTTP server.
    pub api_us: f64,
    /// Of PostgreSQL.
    pub postgres_us: f64,
    /// Of the other services and servers.
    pub others_us: f64,
}

/// What a run at full load has shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Full {
    /// Requests accepted a second.
    pub per_second: f64,
    /// CPU time until everything was written.
    pub cost: Cost,
    /// How much of its one core the load generator was busy.
    pub client_busy: f64,
}

/// What a run at a steady rate has shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steady {
    /// Half of the answers came within this, from the moment a request was due.
    pub p50_ms: f64,
    /// 99 of 100 did.
    pub p99_ms: f64,
    /// CPU time until everything was written.
    pub cost: Cost,
}

impl Cost {
    /// Of all together.
    pub fn whole_us(&self) -> f64 {
        self.api_us + self.postgres_us + self.others_us
    }
}

impl Contender {
    /// The pipeline with all three services, and these campaigns open.
    pub async fn pipeline(environment: &Environment, codes: &[String]) -> Result<Self> {
        let world = environment.world().await?;
        let opened = stream::iter(codes).map(|code| world.open_campaign(code, PLENTY)).buffer_unordered(OPENED_AT_ONCE);
        opened.try_collect::<()>().await?;
        let (api, issue_consumer) = (start_api(&world).await?, world.start_issue_consumer().await?);
        let (address, dlq_consumer) = (address(&api)?, world.start_dlq_consumer().await?);
        let system = System::Pipeline { api, issue_consumer, dlq_consumer };
        Ok(Self { system, address, machines: Machines::find(environment), codes: codes.to_vec(), asked: 0, world })
    }

    /// These campaigns as `units` rows in all, behind a server with so many connections to PostgreSQL.
    pub async fn rows(environment: &Environment, codes: &[String], units: u32, connections: u32) -> Result<Self> {
        let world = environment.world().await?;
        let filling = progress::step("filling the rows");
        fill(&world.db, codes, units).await?;
        rest::checkpoint(&world.db).await;
        filling.finish_and_clear();
        let variables = [("ROWS_DATABASE_URL", &*world.database_url), ("ROWS_CONNECTIONS", &*connections.to_string())];
        let server = Bare::start_as("rows-server", &world, &[], &variables).await?;
        let (address, machines) = (server.address, Machines::find(environment));
        let system = System::Rows { server, told: HashMap::new() };
        Ok(Self { system, address, machines, codes: codes.to_vec(), asked: 0, world })
    }

    /// Everything due at once for so many seconds, after a short run that warms up.
    pub async fn full(&mut self, seconds: f64) -> Result<Full> {
        let requests = self.requests(PROBE_REQUESTS)?;
        let (probe, _) = self.run(Load::capacity(self.address, requests, PROBE_SECONDS)).await?;
        let requests = self.requests(enough(&probe, seconds))?;
        let (outcome, cost) = self.run(Load::capacity(self.address, requests, seconds)).await?;
        Ok(Full { per_second: outcome.per_second(202), cost, client_busy: outcome.busy() })
    }

    /// An open loop of so many requests a second.
    pub async fn steady(&mut self, rate: f64, seconds: f64) -> Result<Steady> {
        let schedule = Schedule::steady(rate, seconds);
        let requests = self.requests(schedule.len())?;
        let (outcome, cost) = self.run(Load::planned(self.address, requests, schedule)).await?;
        let latencies = outcome.latencies()?;
        Ok(Steady { p50_ms: quantile_ms(&latencies, 0.5), p99_ms: quantile_ms(&latencies, 0.99), cost })
    }

    /// Fails if anything that was told is not so.
    pub async fn check(&self) -> Result<()> {
        match &self.system {
            System::Pipeline { .. } => hold(&self.world).await,
            System::Rows { told, .. } => check::rows(&self.world.db, told).await,
        }
    }

    fn requests(&mut self, count: usize) -> Result<Requests> {
        let host = self.address.to_string();
        let requests = Requests::spread(&self.world.signer, &host, &self.codes, self.asked, count)?;
        self.asked += count;
        Ok(requests)
    }

    async fn run(&mut self, load: Load) -> Result<(Outcome, Cost)> {
        let before = self.cpu()?;
        let outcome = load.run().await?;
        accepted_all(&outcome)?;
        ensure!(outcome.unanswered() == 0, "{} requests have no answer", outcome.unanswered());
        match &mut self.system {
            System::Pipeline { .. } => {
                log(&self.world, &outcome);
                written(&self.world).await?;
            }
            System::Rows { told, .. } => {
                for record in outcome.records.iter().filter(|record| record.status == 202) {
                    let id = request_id(outcome.body(record)).context("an answer names no request")?;
                    told.insert(outcome.requests.member(record.index).to_owned(), id);
                }
            }
        }
        let (used, accepted) = (self.cpu()?.since(&before), outcome.count(202) as u64);
        let whole = each_us(used.each().map(|(_, ms)| ms).sum(), accepted);
        let (api_us, postgres_us) = (each_us(used.of("api"), accepted), each_us(used.of("postgres"), accepted));
        Ok((outcome, Cost { api_us, postgres_us, others_us: whole - api_us - postgres_us }))
    }

    fn cpu(&self) -> Result<Cpu> {
        match &self.system {
            System::Pipeline { api, issue_consumer, dlq_consumer } => {
                self.machines.cpu(&[("api", api), ("consumer", issue_consumer), ("repair", dlq_consumer)])
            }
            System::Rows { server, .. } => Ok(self.machines.cpu(&[])?.with("api", server.cpu_ms()?)),
        }
    }
}

/// Makes the tables, with these campaigns as `units` rows in all.
pub async fn fill(database: &PgPool, codes: &[String], units: u32) -> Result<()> {
    raw_sql(include_str!("units.sql")).execute(database).await?;
    sqlx::query(
        "INSERT INTO unit_campaigns SELECT number, code FROM UNNEST($1::text[]) WITH ORDINALITY AS c (code, number)",
    )
    .bind(codes)
    .execute(database)
    .await?;
    sqlx::query(
        "INSERT INTO units (campaign_id, unit_no)
         SELECT campaign_id, unit_no FROM unit_campaigns, generate_series(1, $1) AS unit_no",
    )
    .bind(i64::from(units) / i64::try_from(codes.len())?)
    .execute(database)
    .await?;
    raw_sql(include_str!("indexes.sql")).execute(database).await?;
    raw_sql("VACUUM ANALYZE units").execute(database).await?;
    Ok(())
}
