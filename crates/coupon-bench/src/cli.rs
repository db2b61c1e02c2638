//! The command line: one variant here and one module of the same name for each thing that is measured.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{drain, environment::Environment, poison, repair, scale, size};

/// Measures the pipeline by driving its real binaries, and says what one run on one machine has shown.
#[derive(Debug, Parser)]
#[command(name = "coupon-bench", version, arg_required_else_help = true)]
#[command(
    after_help = "Addresses: DATABASE_URL, REDIS_URL and KAFKA_BROKERS; `eval \"$(scripts/stack env)\"` sets them.\n\
                  Exit codes: 0 measured (goals kept or not), 1 failed, 2 wrong usage or setting."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure `dlq-consumer reconcile` and `rebuild` on one coupon with many issued members.
    Repair(repair::RepairArgs),
    /// Measure how fast one issue-consumer writes the events of one hot coupon, against `COPY`.
    Drain(drain::DrainArgs),
    /// The same with the events of 100 coupons in turn.
    Mixed(drain::DrainArgs),
    /// Measure how fast healthy events are written while one in a hundred always fails.
    Poison(poison::PoisonArgs),
    /// Measure two issue-consumers against one where PostgreSQL is not the limit.
    Scale(scale::ScaleArgs),
    /// Measure what an issue costs with 10 thousand, a million and 10 million issued of one coupon.
    Size(size::SizeArgs),
}

/// Runs the command.
pub async fn execute(cli: Cli) -> ExitCode {
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => {
            eprintln!("coupon-bench: {error:#}");
            return ExitCode::from(2);
        }
    };
    let outcome = match cli.command {
        Command::Repair(arguments) => repair::run(&environment, &arguments).await,
        Command::Drain(arguments) => drain::run(&environment, &arguments).await,
        Command::Mixed(arguments) => drain::run_mixed(&environment, &arguments).await,
        Command::Poison(arguments) => poison::run(&environment, &arguments).await,
        Command::Scale(arguments) => scale::run(&environment, &arguments).await,
        Command::Size(arguments) => size::run(&environment, &arguments).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coupon-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
