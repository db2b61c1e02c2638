//! `decisions`: the events by which other systems are told of decisions.

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use coupon_core::{
    contract, decisions,
    ids::CouponCode,
    kafka::{Broker, Publisher},
    repo::audit::Identity,
    startup::missing,
};
use coupon_operations::terminal::{ByArgs, confirm, counted, reason};

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
    /// Go on after rows of a campaign's decisions were changed by hand and cannot be put back: numbers without a decision are passed
    /// over, decisions without a number get one
    #[command(
        before_help = "Examples:\n  dlq-consumer decisions accept-missing --coupon SPRING --reason T-17 --by alice\n  dlq-consumer decisions accept-missing --coupon SPRING --reason T-17 --yes"
    )]
    AcceptMissing(AcceptArgs),
}

/// Of which campaign, and why.
#[derive(Debug, Args)]
struct AcceptArgs {
    /// The campaign
    #[arg(long, value_name = "CODE")]
    coupon: CouponCode,
    /// Why the rows cannot be put back; kept in the audit
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    #[command(flatten)]
    by: ByArgs,
    /// Do not ask whether it is meant.
    #[arg(long)]
    yes: bool,
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
    match args.command {
        DecisionsCommand::Replay(args) => replay(config, args).await,
        DecisionsCommand::AcceptMissing(args) => accept_missing(config, args).await,
    }
}

async fn accept_missing(config: &Config, args: AcceptArgs) -> anyhow::Result<ExitCode> {
    let AcceptArgs { coupon, reason, by, yes } = args;
    let identity = Identity { reason, ..by.identity()? };
    confirm::must_be_possible(yes)?;
    let what = format!(
        "numbers of {coupon} without a decision are passed over for good; restore deleted rows first if you can"
    );
    confirm::confirm(&what, coupon.as_str(), yes)?;
    let operations = super::operations(config).await?.in_the_name_of(identity);
    let accepted = operations.accept_missing_decisions(&coupon).await?;
    for (first, last) in &accepted.passed_over {
        println!(
            "numbers {first} to {last} of {coupon} have no decision: tell whoever reads decisions that they do not exist"
        );
    }
    eprintln!(
        "{coupon}: the last number is {}, which is {} more than there are decisions; this is no drift any more",
        accepted.last, accepted.difference
    );
    Ok(ExitCode::SUCCESS)
}

async fn replay(config: &Config, args: ReplayArgs) -> anyhow::Result<ExitCode> {
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
