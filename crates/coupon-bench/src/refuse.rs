//! `coupon-bench refuse`: how fast members are refused because nothing is left, against HTTP alone, without the check of a
//! token.

use anyhow::{Result, ensure};
use clap::Args;
use coupon_e2e::{process::Process, world::World};
use uuid::Uuid;

use crate::{
    accept::{CODE, address, log, written},
    environment::Environment,
    figures::{
        Goal::AtLeast,
        Unit::{PerSecond, Ratio, Us},
    },
    limits::{
        bare::{self, PROBE_REQUESTS, PROBE_SECONDS, enough},
        table::{Collected, Row, row},
    },
    load::{Load, Outcome, Record, Requests, member, request_id, told},
    measure::servers::Machines,
    progress,
    rounds::{Rounds, seconds},
    tokens::{TokenAlgorithm, start_api},
};

/// Coupons of the campaign: all gone before the run.
const STOCK: usize = 100;

const ROWS: &[Row] = &[
    row("refuse.per_second", "refused", PerSecond, "sold out, members without a coupon"),
    row("refuse.http_per_second", "HTTP alone beside refusing", PerSecond, "no token check, in the same round"),
    row("refuse.http_ratio", "refused of HTTP alone", Ratio, "every member with a token of its own, never seen before"),
    row("refuse.api_cpu_us", "CPU of issuer-api per refused", Us, ""),
    row("refuse.redis_cpu_us", "CPU of Redis per refused", Us, "the sold-out cache answers, and asks now and then"),
    row("refuse.http_cpu_us", "CPU of HTTP alone per request", Us, ""),
];

/// Arguments: what is measured, how long and how often.
#[derive(Debug, Args)]
pub struct RefuseArgs {
    /// Length of each measurement in seconds.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// How the tokens of members are signed.
    #[arg(long, value_enum, default_value_t)]
    algorithm: TokenAlgorithm,
    #[command(flatten)]
    rounds: Rounds,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &RefuseArgs) -> Result<()> {
    let RefuseArgs { seconds, algorithm, rounds } = arguments;
    let environment = &environment.signing_with((*algorithm).into());
    let mut collected = Collected::default();
    rounds.each(async |_| measure(environment, *seconds, &mut collected).await).await?;
    let own = ("refuse.http_ratio", AtLeast(0.85));
    rounds.finish(environment, algorithm.named(collected.figures(ROWS), own)).await
}

async fn measure(environment: &Environment, seconds: f64, collected: &mut Collected) -> Result<()> {
    let (machines, world) = (Machines::find(environment), environment.world().await?);
    let http = bare::measure_unchecked(&world, seconds).await?;
    world.open_campaign(CODE, u64::try_from(STOCK)?).await?;
    let (api, _consumer) = (start_api(&world).await?, world.start_issue_consumer().await?);
    let holders = ask(&world, &api, 0, STOCK, 30.0).await?;
    ensure!(holders.count(202) == STOCK, "the {STOCK} coupons went out with {}", holders.statuses());
    log(&world, &holders);
    written(&world).await?;

    let _running = progress::step("refusing");
    let probe = ask(&world, &api, STOCK, PROBE_REQUESTS, PROBE_SECONDS).await?;
    refused_all(&probe)?;
    let before = machines.cpu(&[("api", &api)])?;
    let outcome = ask(&world, &api, STOCK + PROBE_REQUESTS, enough(&probe, seconds), seconds).await?;
    let used = machines.cpu(&[("api", &api)])?.since(&before);
    refused_all(&outcome)?;

    collected.put("refuse.per_second", outcome.per_second(409));
    collected.put("refuse.http_per_second", http.per_second);
    collected.put("refuse.http_ratio", outcome.per_second(409) / http.per_second);
    collected.put_cpu("refuse", &used, outcome.cpu_ms, outcome.records.len());
    collected.put("refuse.http_cpu_us", http.server_cpu_us);
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

/// Checks that the holders are those of before the rush, under the same request ids.
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
    let holder_entries: Vec<(String, Uuid)> =
        (0..STOCK).map(member).filter_map(|member| Some((member.clone(), stock.holder_of(&member)?))).collect();
    ensure!(holder_entries == ids(holders) && stock.issued.len() == STOCK, "the holder entries have changed");
    progress::say(&format!("{STOCK} holders hold what they held, and nobody else does"));
    Ok(())
}
