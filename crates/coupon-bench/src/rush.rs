//! `coupon-bench rush`: more members than coupons within one second: how soon the campaign is sold out, and how soon those who
//! come too late learn it.

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    accept::{Stage, accepted_all, hold, log, prepare, written},
    environment::Environment,
    figures::{
        Goal::AtMost,
        Unit::{Count, Ms, PerSecond, Times},
    },
    limits::table::{Collected, Row, goal, row},
    load::{Load, Outcome, Requests, Schedule, told},
    measure::spread::{Spread, as_f64},
    progress,
    rounds::{Rounds, seconds},
    tokens::TokenAlgorithm,
};

/// The campaign of the rush; what is accepted a second is measured on another one.
const CODE: &str = "BENCH-RUSH";

const PLANNED: &str = "from the planned moment of sending";

const ROWS: &[Row] = &[
    row(
        "rush.connections",
        "connections of the rush",
        Count,
        "one thread; who finds none free waits, and the wait counts",
    ),
    row("rush.accept_per_second", "accepted a second before the rush", PerSecond, "all services, plenty of coupons"),
    row("rush.sold_out_ms", "rush: time until the last coupon is told", Ms, "from the start of the rush"),
    goal(
        "rush.sold_out_ratio",
        "rush: the same against the rate before",
        Times,
        AtMost(1.5),
        "coupons / accepted a second",
    ),
    row("rush.answers_per_second", "rush: answers a second", PerSecond, "of any kind"),
    row("rush.refused_p50_ms", "rush: refused after, p50", Ms, PLANNED),
    row("rush.refused_p99_ms", "rush: refused after, p99", Ms, PLANNED),
    goal("rush.refused_most_ms", "rush: refused after, longest", Ms, AtMost(2000.0), PLANNED),
    row("rush.refused_first_ms", "rush: first tenth refused after, p50", Ms, PLANNED),
    row("rush.refused_last_ms", "rush: last tenth refused after, p50", Ms, PLANNED),
    goal("rush.refused_last_ratio", "rush: last tenth refused against first", Times, AtMost(1.0), ""),
    goal("rush.failed", "rush: answers of 5xx", Count, AtMost(0.0), ""),
    goal("rush.unanswered", "rush: requests without an answer", Count, AtMost(0.0), ""),
    goal(
        "rush.others",
        "rush: other answers than 202 and SOLD_OUT",
        Count,
        AtMost(0.0),
        "such as 429; 5xx are not among them",
    ),
];

/// Arguments: the rush, and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench rush --members 200000 --coupons 10000 --json rush.json")]
pub struct RushArgs {
    /// Members, each of whom asks once, with a token of its own.
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(100..=2_000_000))]
    members: u32,
    /// Coupons of the campaign, fewer than members.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    coupons: u32,
    /// Time within which they come, in seconds.
    #[arg(long, value_name = "S", default_value_t = 1.0, value_parser = seconds)]
    within: f64,
    /// Connections of the load.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u16).range(1..=8000))]
    connections: u16,
    /// Length of the run at full load before the rush, in seconds.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// How the tokens of members are signed.
    #[arg(long, value_enum, default_value_t)]
    algorithm: TokenAlgorithm,
    #[command(flatten)]
    rounds: Rounds,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &RushArgs) -> Result<()> {
    let RushArgs { members, coupons, algorithm, rounds, .. } = arguments;
    ensure!(coupons < members, "{members} members are no rush for {coupons} coupons");
    let environment = &environment.signing_with((*algorithm).into());
    let mut collected = Collected::default();
    rounds.each(async |_| round(environment, arguments, &mut collected).await).await?;
    let own = ("rush.sold_out_ratio", AtMost(1.5));
    rounds.finish(environment, algorithm.named(collected.figures(ROWS), own)).await
}

async fn round(environment: &Environment, arguments: &RushArgs, collected: &mut Collected) -> Result<()> {
    let stage = Stage::set(environment).await?;
    let connections = usize::from(arguments.connections);
    let per_second = {
        let _running = progress::step("all services at full load");
        let (requests, address) = prepare(&stage.world, &stage.api, arguments.seconds).await?;
        let load = Load { connections, ..Load::capacity(address, requests, arguments.seconds) };
        let outcome = load.run().await?;
        log(&stage.world, &outcome);
        accepted_all(&outcome)?;
        outcome.per_second(202)
    };
    // What the run before has left to write is not the rush's.
    written(&stage.world).await?;

    stage.world.open_campaign(CODE, u64::from(arguments.coupons)).await?;
    let members = usize::try_from(arguments.members)?;
    let requests = Requests::make(&stage.world.signer, &stage.address.to_string(), CODE, 0, members)?;
    let schedule = Schedule::steady(f64::from(arguments.members) / arguments.within, arguments.within);
    let running = progress::step(&format!("{members} members rush for {} coupons", arguments.coupons));
    let outcome = Load { connections, ..Load::planned(stage.address, requests, schedule) }.run().await?;
    running.finish_and_clear();
    log(&stage.world, &outcome);
    let (sold, unanswered) = (outcome.count(202), outcome.unanswered());
    let is_sold_out = usize::try_from(arguments.coupons).is_ok_and(|all| sold <= all && all <= sold + unanswered);
    ensure!(is_sold_out, "{sold} of {} coupons went out: {}", arguments.coupons, outcome.statuses());
    progress::say(&format!("  {per_second:.0} accepted a second before; the rush: {}", outcome.statuses()));
    collected.put("rush.connections", as_f64(connections as u64));
    collected.put("rush.accept_per_second", per_second);
    note(&outcome, f64::from(arguments.coupons) / per_second * 1000.0, collected)?;
    hold(&stage.world).await
}

/// Notes the figures of one rush for so many coupons as would be accepted within `needed_ms`.
fn note(outcome: &Outcome, needed_ms: f64, collected: &mut Collected) -> Result<()> {
    let accepted = outcome.records.iter().filter(|record| record.status == 202);
    let sold_out_ms = accepted.map(|record| as_f64(record.at_ns) / 1e6).fold(0.0, f64::max);
    let is_sold_out = |body: &[u8]| told(body, "code") == Some("SOLD_OUT");
    let refused = outcome.records.iter().filter(|record| record.status == 409 && is_sold_out(outcome.body(record)));
    let mut refused: Vec<_> = refused.map(|record| (record.index, outcome.latency_ms(record))).collect();
    ensure!(refused.len() >= 10, "hardly anybody was refused: {}", outcome.statuses());
    // In the order in which they were due.
    refused.sort_by_key(|(index, _)| *index);
    let latencies: Vec<f64> = refused.into_iter().map(|(_, ms)| ms).collect();
    let tenth = latencies.len() / 10;
    let (first, last) = (median(&latencies[..tenth]), median(&latencies[latencies.len() - tenth..]));
    let failed = outcome.records.iter().filter(|record| record.status >= 500).count();
    let others = outcome.records.len() - failed - outcome.count(202) - latencies.len();

    let mut sorted = latencies;
    sorted.sort_by(f64::total_cmp);
    let quantile = |hundredths: usize| sorted[(sorted.len() * hundredths / 100).min(sorted.len() - 1)];
    for (id, value) in [
        ("rush.sold_out_ms", sold_out_ms),
        ("rush.sold_out_ratio", sold_out_ms / needed_ms),
        ("rush.answers_per_second", outcome.answers_per_second()),
        ("rush.refused_p50_ms", quantile(50)),
        ("rush.refused_p99_ms", quantile(99)),
        ("rush.refused_most_ms", quantile(100)),
        ("rush.refused_first_ms", first),
        ("rush.refused_last_ms", last),
        ("rush.refused_last_ratio", last / first),
        ("rush.failed", as_f64(failed as u64)),
        ("rush.unanswered", as_f64(outcome.unanswered() as u64)),
        ("rush.others", as_f64(others as u64)),
    ] {
        collected.put(id, value);
    }
    if outcome.busy() > 0.9 {
        let busy =
            format!("the load generator was busy {:.0} % of its core: a part of it is its own", outcome.busy() * 100.0);
        collected.remark("rush.refused_most_ms", busy);
    }
    Ok(())
}

fn median(values: &[f64]) -> f64 {
    Spread::of(values.iter().copied()).map_or(f64::NAN, |spread| spread.median)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::load::Record;

    /// A hundred requests due at once, each answered after `ms` of its index by the status and body of its index.
    fn outcome(answer: impl Fn(usize) -> (u16, &'static str, u64)) -> Outcome {
        let (mut records, mut bodies) = (Vec::new(), Vec::new());
        for index in 0..100 {
            let (status, body, ms) = answer(index);
            let start = bodies.len();
            bodies.extend_from_slice(body.as_bytes());
            records.push(Record { index, at_ns: ms * 1_000_000, status, body: start..bodies.len() });
        }
        Outcome {
            started_at: chrono::DateTime::UNIX_EPOCH,
            requests: Arc::default(),
            schedule: Schedule::at_once(100),
            asked: 102,
            records,
            bodies,
            took: Duration::from_secs(1),
            cpu_ms: 950,
        }
    }

    #[test]
    fn a_rush_is_told_by_its_last_coupon_and_its_latest_refusal() {
        const SOLD_OUT: &str = r#"{"code":"SOLD_OUT"}"#;
        let outcome = outcome(|index| match index {
            0..=19 => (202, "", 10 + index as u64),
            20 => (503, "", 1),
            21 => (409, r#"{"code":"CLOSED"}"#, 1),
            99 => (409, SOLD_OUT, 400),
            90..=98 => (409, SOLD_OUT, 30),
            _ => (409, SOLD_OUT, 20),
        });
        let mut collected = Collected::default();
        note(&outcome, 20.0, &mut collected).unwrap();
        let figures = collected.figures(ROWS);
        let found = |id: &str| figures.iter().find(|figure| figure.id == id).unwrap();
        for (id, value) in [
            ("rush.sold_out_ms", 29.0),
            ("rush.sold_out_ratio", 1.45),
            ("rush.refused_p50_ms", 20.0),
            ("rush.refused_most_ms", 400.0),
            ("rush.refused_last_ratio", 1.5),
            ("rush.failed", 1.0),
            ("rush.unanswered", 2.0),
            ("rush.others", 1.0),
        ] {
            assert!((found(id).rounds[0] - value).abs() < 1e-9, "{id}: {:?}", found(id).rounds);
        }
        assert!(found("rush.refused_most_ms").remark.contains("busy 95 %"));
    }
}
