//! The scenarios, which drive the real binaries on the real servers, and tests of the harness and of the oracle. A scenario
//! begins with the letter of its subject. `make test` starts the servers.
#![expect(clippy::disallowed_methods, reason = "a test lives in the time of the machine")]

mod accept;
mod accept_outage;
mod admission;
mod alarm_channels;
mod alarm_ends;
mod alarm_text;
mod alarms;
mod bad_input;
mod campaign_commands;
mod campaigns;
mod client;
mod console_access;
mod console_assertion;
mod console_away;
mod console_campaigns;
mod console_hostile;
mod console_login;
mod console_masked;
mod console_members;
mod console_pages;
mod console_plans;
mod console_texts;
mod console_trouble;
mod console_work;
mod contract;
mod crowd;
mod damage;
mod dead_letter;
mod decisions;
mod decisions_history;
mod decisions_kept;
mod demo;
mod deployed;
mod erasure;
mod erasure_ends;
mod erasure_places;
mod hang_up;
mod harness;
mod headers;
mod holder;
mod jobs;
mod kafka_rights;
mod kafka_secure;
mod keys;
mod keys_files;
mod lag;
mod leads_out;
mod long;
mod loops;
mod lost_keys;
mod lost_redis;
mod metrics;
mod migrations;
mod mock;
mod monitoring;
mod operator;
mod operator_finds;
mod oracle;
mod outage;
mod outage_database;
mod outage_group;
mod outage_session;
mod planted;
mod postgres_login;
mod postgres_pooler;
mod postgres_roles;
mod postgres_tls;
mod problems;
mod public_view;
mod rebuild;
mod rebuild_broken;
mod rebuild_refused;
mod reconcile;
mod reconcile_alone;
mod reconcile_planted;
mod redis_cluster;
mod redis_login;
mod redis_sentinel;
mod repair;
mod replay;
mod replay_ends;
mod replay_jobs;
mod replay_settled;
mod replayed;
mod request_list;
mod rest;
mod restored;
mod retention;
mod retry;
mod rows;
mod scaling;
mod security;
mod seen;
mod servers;
mod settling;
mod sick_redis;
mod sick_replica;
mod signed;
mod signed_keys;
mod sold_out;
mod topics_anew;
mod unverified;
mod webhooks;
mod webhooks_fail;
mod work_list;
mod write;

use std::time::Duration;

use anyhow::Result;
use coupon_e2e::{
    process::{Process, logs::LogLine},
    wait::eventually,
    world::World,
};

/// Longest time until something happens that nothing delays.
const SOON: Duration = Duration::from_secs(15);

/// Longest time until something happens after all attempts: 1 + 2 + 4 s and 1 + 2 s, on a busy machine.
const AFTER_ALL_ATTEMPTS: Duration = Duration::from_secs(40);

/// The line by which a service says that something it needs is away.
fn unavailable(line: &LogLine) -> bool {
    line.message().starts_with("dependency unavailable")
}

/// One process of each of the three services.
struct Services {
    api: Process,
    issue_consumer: Process,
    dlq_consumer: Process,
}

impl Services {
    /// Starts one process of each service. Commands do their work in their terminal, as where no service works on jobs.
    async fn start(world: &World) -> Result<Self> {
        let (api, issue_consumer, dlq_consumer) = tokio::try_join!(
            world.start_api().into_future(),
            world.start_issue_consumer().into_future(),
            world.start_dlq_consumer().set("jobs.workers", 0).into_future()
        )?;
        Ok(Self { api, issue_consumer, dlq_consumer })
    }
}

/// Number of ISSUED rows of a campaign.
async fn issued(world: &World, code: &str) -> Result<i64> {
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM coupon_issues JOIN coupons USING (coupon_id) WHERE coupon_code = $1 AND decision = 'ISSUED'",
    );
    Ok(count.bind(code).fetch_one(&world.db).await?)
}

/// Waits until so many coupons of a campaign are issued.
async fn issued_rows(world: &World, code: &str, rows: i64, within: Duration) -> Result<()> {
    eventually(&format!("{rows} coupons of {code} are issued"), within, async || -> Result<bool> {
        let found = issued(world, code).await?;
        if found == rows { Ok(true) } else { anyhow::bail!("{found} are") }
    })
    .await
}
