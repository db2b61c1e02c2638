//! `coupon-bench refuse`: how fast members are told that nothing is left, against HTTP and the check of a token alone.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use coupon_e2e::{process::Process, world::World};
use uuid::Uuid;

use crate::{
    accept::{CODE, address},
    environment::Environment,
    figures::{
        Goal::AtLeast,
        Unit::{PerSecond, Ratio, Us},
        finish,
    },
    limits::{
        self, Machines,
        bare::{self, PROBE, PROBE_REQUESTS, enough},
        each_us,
        table::{Collected, Row, goal, row},
    },
    load::{Load, Outcome, Record, Requests, member, request_id, told},
    measure::usage,
    progress,
};

/// Coupons of the campaign: all gone before the run.
const STOCK: usize = 100;

const ROWS: &[Row] = &[
    row("refuse.per_second", "refused", PerSecond, "sold out, members without a coupon"),
    row("refuse.bare_per_second", "HTTP and token alone", PerSecond, "in the same round"),
    goal("refuse.ratio", "refused of bare HTTP", Ratio, AtLeast(0.90), ""),
    row("refuse.api_cpu_us", "CPU of issuer-api per refused", Us, ""),
    row(
        "refuse.redis_cpu_us",
        "CPU of Redis per refused",
        Us,
        "the memory of issuer-api answers, and asks now and then",
    ),
    row("refuse.bare_cpu_us", "CPU of bare HTTP per request", Us, ""),
];

/// What is measured.
#[derive(Debug, Args)]
pub struct RefuseArgs {
    /// How often everything is measured; the figures are medians.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Length of each measurement in seconds.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = limits::seconds)]
    seconds: f64,
    /// Also write every figure of every round to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures, and prints what was measured.
pub async fn run(environment: &Environment, arguments: &RefuseArgs) -> Result<()> {
    limits::warn_of_debug_build();
    let mut collected = Collected::default();
    for round in 1..=arguments.rounds {
        progress::say(&format!("round {round} of {}", arguments.rounds));
        measure(environment, arguments.seconds, &mut collected).await?;
    }
    let figures = collected.figures(ROWS);
    finish(environment, arguments.rounds, figures, arguments.json.as_deref()).await
}

async fn measure(environment: &Environment, seconds: f64, collected: &mut Collected) -> Result<()> {
    let (machines, world) = (Machines::find(environment), limits::world().await?);
    let bare = bare::measure(&world, seconds).await?;
    world.open_campaign(CODE, u64::try_from(STOCK)?).await?;
    let (api, _consumer) = (world.start_api().await?, world.start_issue_consumer().await?);
    let holders = ask(&world, &api, 0, STOCK, 30.0).await?;
    ensure!(holders.count(202) == STOCK, "the {STOCK} coupons went out with {}", holders.statuses());
    crate::accept::settle(&world, &holders).await?;

    let running = progress::step("refusing");
    let probe = ask(&world, &api, STOCK, PROBE_REQUESTS, PROBE).await?;
    refused_all(&probe)?;
    let cpu_ms = || Some([usage::stat(api.pid())?.cpu_ms, machines.redis.cpu_ms()]);
    let before = cpu_ms().context("issuer-api has ended")?;
    let outcome = ask(&world, &api, STOCK + PROBE_REQUESTS, enough(&probe, seconds), seconds).await?;
    let after = cpu_ms().context("issuer-api has ended")?;
    running.finish_and_clear();
    refused_all(&outcome)?;

    collected.put("refuse.per_second", outcome.per_second(409));
    collected.put("refuse.bare_per_second", bare.per_second);
    collected.put("refuse.ratio", outcome.per_second(409) / bare.per_second);
    let refused = outcome.records.len();
    collected.put("refuse.api_cpu_us", each_us(after[0] - before[0], refused));
    collected.put_cpu("refuse.redis_cpu_us", &machines.redis, after[1] - before[1], refused);
    collected.put("refuse.bare_cpu_us", bare.server_cpu_us);
    crate::accept::remark("refuse.per_second", &outcome, 409, collected);
    holders_still_hold(&world, &api, &holders).await
}

async fn ask(world: &World, api: &Process, first: usize, count: usize, seconds: f64) -> Result<Outcome> {
    let address = address(api)?;
    let requests = Requests::make(&world.signer, &address.to_string(), CODE, first, count)?;
    Load::capacity(address, requests, seconds).run().await
}

fn refused_all(outcome: &Outcome) -> Result<()> {
    let is_sold_out = |body: &[u8]| told(body, "code") == Some("SOLD_OUT");
    let refused = outcome.records.iter().filter(|record| record.status == 409 && is_sold_out(outcome.body(record)));
    let (refused, asked) = (refused.count(), outcome.asked);
    ensure!(refused == asked, "{refused} of {asked} were told SOLD_OUT; {}", outcome.statuses());
    Ok(())
}

/// Whoever had a coupon before the rush has it still, under the same id, and nobody else has one.
async fn holders_still_hold(world: &World, api: &Process, holders: &Outcome) -> Result<()> {
    let again = ask(world, api, 0, STOCK, 30.0).await?;
    ensure!(again.count(200) == STOCK, "the holders were told {}", again.statuses());
    let ids = |outcome: &Outcome| {
        let id = |record: &Record| {
            Some((outcome.requests.member(record.index).to_owned(), request_id(outcome.body(record))?))
        };
        let mut ids: Vec<(String, Uuid)> = outcome.records.iter().filter_map(id).collect();
        ids.sort();
        ids
    };
    ensure!(ids(&again) == ids(holders), "a holder was told of another reservation");
    let mut rows: Vec<(String, Uuid)> =
        sqlx::query_as("SELECT member_id, request_id FROM coupon_issues").fetch_all(&world.db).await?;
    rows.sort();
    ensure!(rows == ids(holders), "the rows have changed");
    let stock = world.stock.of(CODE).await?;
    let marks: Vec<(String, Uuid)> =
        (0..STOCK).map(member).filter_map(|member| Some((member.clone(), stock.mark_of(&member)?))).collect();
    ensure!(marks == ids(holders) && stock.issued.len() == STOCK, "the marks have changed");
    progress::say(&format!("{STOCK} holders hold what they held, and nobody else does"));
    Ok(())
}
