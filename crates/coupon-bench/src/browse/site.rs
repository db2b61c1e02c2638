//! A pipeline with a console, a long work list, and a campaign of which a million coupons are issued.

use std::{
    hash::{DefaultHasher, Hasher},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chrono::{SecondsFormat, TimeDelta, Utc};
use coupon_e2e::{console::Console, process::Process, wait::eventually, world::World};
use hdrhistogram::Histogram;

use super::pages::Operators;
use crate::{
    accept::{CODE, PLENTY, accepted_all, address},
    environment::Environment,
    limits::bare::{PROBE_REQUESTS, PROBE_SECONDS, enough},
    load::{Load, Outcome, Requests, Schedule},
    measure::usage,
    progress,
    seed::{self, members::Members, rest},
};

/// Coupons issued of the campaign that is exported.
const ISSUED: u32 = 1_000_000;

/// Longest time until everything that was accepted is written.
const WRITTEN_WITHIN: Duration = Duration::from_mins(2);

/// Half of the entries wait for somebody; twenty campaigns, thirty causes, three in a hundred of the members have several.
const ENTRIES: &str = "
    INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason, cause,
                                      failed_at, resolved_at, resolved_by, resolution)
    SELECT 'OLD-' || n % 20, 'member-' || n * 97 % ($1 * 97 / 100), gen_random_uuid(),
           CASE n % 4 WHEN 2 THEN 'RESOLVED' WHEN 3 THEN 'IGNORED' ELSE 'PENDING' END,
           'PERMANENT', '23514', 'the database refused row ' || n, 'PERMANENT 23514 refused by rule ' || n % 30,
           now() - n * interval '0.2 s', CASE WHEN n % 4 > 1 THEN now() END, CASE WHEN n % 4 > 1 THEN 'bench' END,
           CASE WHEN n % 4 > 1 THEN 'looked at' END
    FROM generate_series(1::bigint, $1) AS n";

/// A fifth is held or parked.
const DEAD_LETTERS: &str = "
    INSERT INTO dlq_events (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type,
                            original_event_id, coupon_code, member_id, record_key, payload, headers, error_class,
                            error_code, cause, error_message, stack_trace, attempts, status, alarm_sent)
    SELECT 'dead', n % 4, n, 1, 'COUPON_ISSUED', gen_random_uuid(), 'OLD-' || n % 20, 'member-' || n, 'key',
           decode(repeat('7b7d', 100), 'hex'), '[]', 'PERMANENT', '23514', 'PERMANENT 23514 refused by rule ' || n % 30,
           'refused', 'refused', 3, CASE n % 10 WHEN 1 THEN 'HELD' WHEN 2 THEN 'PARKED' ELSE 'COMPENSATED' END, true
    FROM generate_series(1::bigint, $1) AS n";

/// Services on a world that is full of rows.
pub struct Site {
    pub console: Console,
    _others: [Process; 2],
    dlq_consumer: Process,
    address: SocketAddr,
    asked: usize,
    accepted: i64,
    entries: u32,
    // Last, so that the services end before their world does.
    pub world: World,
}

impl Site {
    /// Fills a fresh world and starts the services on it.
    pub async fn fill(environment: &Environment, entries: u32) -> Result<Self> {
        let world = environment.world().await?;
        {
            let members = Members::until(Utc::now(), ISSUED);
            let mut database = world.db.acquire().await?;
            seed::rows(&mut database, &members, members.count).await?;
            seed::holders(&world.stock, &members, members.count).await?;
            let _filling = progress::step("filling the work list");
            sqlx::query("SET synchronous_commit = off").execute(&mut *database).await?;
            sqlx::query(ENTRIES).bind(i64::from(entries)).execute(&mut *database).await?;
            sqlx::query(DEAD_LETTERS).bind(i64::from(entries / 10)).execute(&mut *database).await?;
            sqlx::query("VACUUM ANALYZE").execute(&mut *database).await?;
            sqlx::query("RESET synchronous_commit").execute(&mut *database).await?;
            rest::settle(&mut database, &mut world.stock.redis()).await?;
        }
        world.open_campaign(CODE, PLENTY).await?;
        let console = Console::new()?;
        let (api, issue_consumer) = (world.start_api().await?, world.start_issue_consumer().await?);
        let dlq_consumer = console.start(&world).await?;
        console.answers().await?;
        let address = address(&api)?;
        Ok(Self {
            console,
            _others: [api, issue_consumer],
            dlq_consumer,
            address,
            asked: 0,
            accepted: 0,
            entries,
            world,
        })
    }

    /// The pages that operators open, by name.
    pub async fn pages(&self) -> Result<Vec<(&'static str, String)>> {
        let (request, member): (uuid::Uuid, String) =
            sqlx::query_as("SELECT request_id, member_id FROM coupon_issues LIMIT 1").fetch_one(&self.world.db).await?;
        let middle = self.entries / 2;
        let pages = [
            ("home", "/".to_owned()),
            ("campaigns", "/campaigns".to_owned()),
            ("campaign", format!("/campaigns/{CODE}")),
            ("big campaign", format!("/campaigns/{}", seed::CODE)),
            ("who got it", format!("/campaigns/{}/issues", seed::CODE)),
            ("work list", "/work".to_owned()),
            ("work pending", "/work?status=PENDING".to_owned()),
            ("work by campaign", "/work?campaign=OLD-7&status=PENDING".to_owned()),
            ("work by cause", "/work?cause=rule+7".to_owned()),
            ("work by rare cause", "/work?cause=no+such+thing".to_owned()),
            ("work in the middle", format!("/work?before=E{middle}")),
            ("entry", format!("/work/E{middle}")),
            ("causes", "/causes".to_owned()),
            ("dead letters", "/dead-letters".to_owned()),
            ("dead letters held", "/dead-letters?status=HELD".to_owned()),
            ("dead letter", format!("/dead-letters/D{}", self.entries / 20)),
            ("request", format!("/requests/{request}")),
            ("member", format!("/members/{member}")),
            ("replays", "/replays".to_owned()),
            ("jobs", "/jobs".to_owned()),
            ("reconcile", "/reconcile".to_owned()),
            ("alarms", "/alarms".to_owned()),
            ("audit", "/audit".to_owned()),
            ("operators", "/operators".to_owned()),
            ("health", "/health".to_owned()),
        ];
        Ok(pages.into())
    }

    /// Full load while rows are written. Returns accepted a second.
    pub async fn full_load(&mut self, seconds: f64) -> Result<f64> {
        let _running = progress::step("full load");
        let probe = Load::capacity(self.address, self.requests(PROBE_REQUESTS)?, PROBE_SECONDS).run().await?;
        self.written(&probe).await?;
        let requests = self.requests(enough(&probe, seconds))?;
        let outcome = Load::capacity(self.address, requests, seconds).run().await?;
        self.written(&outcome).await?;
        Ok(outcome.per_second(202))
    }

    /// So many a second. Returns how long their answers took, in µs.
    pub async fn half_load(&mut self, rate: f64, seconds: f64) -> Result<Histogram<u64>> {
        let _running = progress::step("half load");
        let schedule = Schedule::steady(rate, seconds);
        let requests = self.requests(schedule.len())?;
        let outcome = Load::planned(self.address, requests, schedule).run().await?;
        self.written(&outcome).await?;
        outcome.latencies()
    }

    fn requests(&mut self, count: usize) -> Result<Requests> {
        let requests = Requests::make(&self.world.signer, &self.address.to_string(), CODE, self.asked, count)?;
        self.asked += count;
        Ok(requests)
    }

    /// Waits until everything that was accepted is written, so that nothing of a run is left for the next one.
    async fn written(&mut self, outcome: &Outcome) -> Result<()> {
        accepted_all(outcome)?;
        self.accepted += i64::try_from(outcome.count(202))?;
        let issued = "SELECT issued_quantity FROM coupons WHERE coupon_code = $1";
        eventually("everything accepted is written", WRITTEN_WITHIN, async || {
            let issued: Result<i64, _> = sqlx::query_scalar(issued).bind(CODE).fetch_one(&self.world.db).await;
            issued.is_ok_and(|issued| issued >= self.accepted)
        })
        .await
    }

    /// Exports the big campaign twice with one bound. Returns the time of the first in ms, and by how many MiB the peak of
    /// dlq-consumer's memory grew.
    pub async fn export(&self, operators: &Operators) -> Result<(f64, f64)> {
        let before = self.peak_mib()?;
        // What is decided now may still be on its way, and is refused as a bound.
        let bound = (Utc::now() - TimeDelta::minutes(1)).to_rfc3339_opts(SecondsFormat::Millis, true);
        let path = format!("/campaigns/{}/issues/export?format=csv&decided_before={bound}", seed::CODE);
        let began = Instant::now();
        let first = digest(operators, &path).await?;
        let took = began.elapsed().as_secs_f64() * 1000.0;
        let grown = self.peak_mib()? - before;
        ensure!(first == digest(operators, &path).await?, "two exports with one bound differ");
        ensure!(first.0 > u64::from(ISSUED) * 50, "an export of {} bytes is too short", first.0);
        Ok((took, grown))
    }

    fn peak_mib(&self) -> Result<f64> {
        let process = usage::process(self.dlq_consumer.pid())?;
        Ok(usage::memory_mib(&process).context("dlq-consumer has ended")?.1)
    }
}

async fn digest(operators: &Operators, path: &str) -> Result<(u64, u64)> {
    let mut answer = operators.get(path).timeout(Duration::from_mins(2)).send().await?.error_for_status()?;
    let (mut length, mut hasher) = (0, DefaultHasher::new());
    while let Some(piece) = answer.chunk().await? {
        length += piece.len() as u64;
        hasher.write(&piece);
    }
    Ok((length, hasher.finish()))
}
