//! `coupon-bench rest`: what `issuer-api` asks Redis, and uses, while nobody asks it anything: with one campaign and with many.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use coupon_e2e::{process::Process, world::World};
use futures_util::{TryStreamExt, stream};

use crate::{
    environment::Environment,
    figures::{
        Goal::AtMost,
        Unit::{Count, Ms, PerSecond, Times},
    },
    limits::table::{Collected, Row, goal, row},
    measure::{commands::Commands, servers::Machines, spread::as_f64},
    progress,
    rounds::{Rounds, look_at_build, seconds},
};

/// From the start of the processes to the measurement: each has its campaigns, its leases and its connections by then.
const SETTLED_AFTER: Duration = Duration::from_secs(6);

/// Commands of operators that open campaigns at the same time.
const OPENED_AT_ONCE: usize = 4;

const COMMANDS: &str = "for each process; those of scripts included, without the INFO of the bench";
const QUESTIONS: &str = "for each process; what comes together is one";
const EACH: &str = "for each process, in steps of 10 ms of the whole time";
const AGAINST: &str = "limit: with one campaign, same round";

const ROWS: &[Row] = &[
    row("rest.campaigns", "at rest: campaigns", Count, "open, and nobody asks"),
    row("rest.one_commands", "at rest: commands at Redis, 1 campaign", PerSecond, COMMANDS),
    row("rest.many_commands", "at rest: commands at Redis, all campaigns", PerSecond, COMMANDS),
    goal("rest.commands_ratio", "at rest: commands at Redis against 1 campaign", Times, AtMost(1.1), AGAINST),
    row("rest.one_questions", "at rest: questions to Redis, 1 campaign", PerSecond, QUESTIONS),
    goal("rest.many_questions", "at rest: questions to Redis, all campaigns", PerSecond, AtMost(1.0), QUESTIONS),
    goal("rest.questions_ratio", "at rest: questions to Redis against 1 campaign", Times, AtMost(1.1), AGAINST),
    row("rest.one_api_ms", "at rest: CPU of issuer-api a second, 1 campaign", Ms, EACH),
    row("rest.many_api_ms", "at rest: CPU of issuer-api a second, all campaigns", Ms, EACH),
    row("rest.one_redis_ms", "at rest: CPU of Redis a second, 1 campaign", Ms, EACH),
    row("rest.many_redis_ms", "at rest: CPU of Redis a second, all campaigns", Ms, EACH),
];

/// Arguments: how many campaigns and processes, how long and how often.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench rest --campaigns 300 --json rest.json")]
pub struct RestArgs {
    /// Open campaigns.
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    campaigns: u32,
    /// Processes of issuer-api, at rest together.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=16))]
    processes: u32,
    /// Length of each measurement in seconds.
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    rounds: Rounds,
}

/// What one process asks and uses in a second.
struct Rest {
    commands: f64,
    questions: f64,
    api_ms: f64,
    redis_ms: f64,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &RestArgs) -> Result<()> {
    look_at_build()?;
    let one = world(environment, 1).await?;
    let many = world(environment, arguments.campaigns).await?;
    let machines = Machines::find(environment);
    let mut collected = Collected::default();
    let round = async |_| {
        let one = measure(&one, &machines, arguments, "one", &mut collected).await?;
        let many = measure(&many, &machines, arguments, "many", &mut collected).await?;
        collected.put("rest.campaigns", f64::from(arguments.campaigns));
        collected.put("rest.commands_ratio", many.commands / one.commands);
        collected.put("rest.questions_ratio", many.questions / one.questions);
        Ok(())
    };
    arguments.rounds.each(round).await?;
    arguments.rounds.finish(environment, collected.figures(ROWS)).await
}

async fn world(environment: &Environment, campaigns: u32) -> Result<World> {
    let _running = progress::step(&format!("opening {campaigns} campaigns"));
    let world = environment.world().await?;
    let open = async |number: u32| world.open_campaign(&format!("REST-{number}"), 100).await;
    stream::iter((0..campaigns).map(Ok)).try_for_each_concurrent(OPENED_AT_ONCE, open).await?;
    Ok(world)
}

async fn measure(
    world: &World,
    machines: &Machines,
    arguments: &RestArgs,
    name: &str,
    collected: &mut Collected,
) -> Result<Rest> {
    let _running = progress::step(&format!("at rest: {name}"));
    let mut processes = Vec::new();
    for _ in 0..arguments.processes {
        processes.push(world.start_api().await?);
    }
    tokio::time::sleep(SETTLED_AFTER).await;
    let services: Vec<(&'static str, &Process)> = processes.iter().map(|process| ("api", process)).collect();
    let mut redis = world.stock.redis();
    let (before, counted) = (machines.cpu(&services)?, Commands::read(&mut redis).await?);
    tokio::time::sleep(Duration::from_secs_f64(arguments.seconds)).await;
    let counted = Commands::read(&mut redis).await?.since(&counted);
    let used = machines.cpu(&services)?.since(&before);
    ensure!(counted.calls() > 0 && counted.questions() > 0, "Redis was asked nothing; measure for longer (--seconds)");

    let of_each = |count: u64| as_f64(count) / arguments.seconds / f64::from(arguments.processes);
    let rest = Rest {
        commands: of_each(counted.calls()),
        questions: of_each(counted.questions()),
        api_ms: of_each(used.of("api")),
        redis_ms: of_each(used.of("redis")),
    };
    collected.put(format!("rest.{name}_commands"), rest.commands);
    collected.put(format!("rest.{name}_questions"), rest.questions);
    collected.put(format!("rest.{name}_api_ms"), rest.api_ms);
    collected.put(format!("rest.{name}_redis_ms"), rest.redis_ms);
    Ok(rest)
}
