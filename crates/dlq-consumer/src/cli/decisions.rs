//! `decisions`: the events by which other systems are told of decisions.

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use coupon_core::{
    contract, decisions,
    ids::CouponCode,
    kafka::{Broker, Publisher},
    startup::missing,
};
use coupon_operations::terminal::{ByArgs, counted};

use super::SERVICE;
use crate::config::Config;

/// What to do with the events.
#[derive(Debug, Args)]
pub struct DecisionsArgs {
    #[command(subcommand)]
    command: DecisionsCommand,
}

#[derive(Debug, Subcommand)]
enum DecisionsCommand {
    /// Publish decisions again, for a consumer that has lost some: with the same ids, in the order of their numbers
    #[command(
        before_help = "Examples:\n  dlq-consumer decisions replay --coupon SPRING --from 1 --to 5000\n  dlq-consumer decisions replay --coupon SPRING --from 17 --to 17 --topic coupon-decisions-again --by alice"
    )]
    Replay(ReplayArgs),
}

/// Which decisions.
#[derive(Debug, Args)]
struct ReplayArgs {
    /// The campaign
    #[arg(long, value_name = "CODE")]
    coupon: CouponCode,
    /// Number of the first decision
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
    /// Number of the last decision
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..))]
    to: i64,
    /// Where to; decisions.topic when not given
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    #[command(flatten)]
    by: ByArgs,
}

/// `decisions`.
pub async fn decisions(config: &Config, args: DecisionsArgs) -> anyhow::Result<ExitCode> {
    let DecisionsCommand::Replay(args) = args.command;
    ensure!(args.from <= args.to, "--from {} is after --to {}", args.from, args.to);
    let operations = super::operations_of(config, &args.by.name()?).await?;
    let (client, topic) = (config.kafka.client(), args.topic.unwrap_or_else(|| config.decisions.topic.clone()));
    // A client that waits for a topic waits for ever.
    let broker = Broker::new(&client, SERVICE)?;
    if let Some(why) = missing(&contract::topic(&broker, &decisions::topic(&topic)).await) {
        anyhow::bail!("{why}");
    }
    let publisher = Publisher::of_decisions(&client, SERVICE, &topic)?;
    let told = |number: i64| eprintln!("published up to {number}");
    let published = operations.replay_decisions(&args.coupon, (args.from, args.to), &publisher, &told).await?;
    eprintln!("{} of {} published again to {topic}", counted(published, "decision", "decisions"), args.coupon);
    Ok(ExitCode::SUCCESS)
}
