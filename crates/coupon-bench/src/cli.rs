//! The command line: one variant here and one module of the same name for each thing that is measured.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{accept, bare, environment::Environment, limits, refuse, repair};

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
    /// The limit of HTTP, as a process.
    #[command(hide = true)]
    Bare(bare::BareArgs),
    /// Measure what issuer-api accepts, and how soon there is an answer and a row.
    Accept(accept::AcceptArgs),
    /// Measure how fast members are told that nothing is left.
    Refuse(refuse::RefuseArgs),
    /// Measure HTTP, the script and the producer, each alone.
    Limits(limits::LimitsArgs),
    /// Measure `dlq-consumer reconcile` and `rebuild` on one coupon with many issued members.
    Repair(repair::RepairArgs),
}

/// Runs the command.
pub async fn execute(cli: Cli) -> ExitCode {
    // Neither needs a server of the environment.
    let cli = match cli.command {
        Command::Bare(arguments) => return exit_code(bare::run(arguments).await),
        Command::Accept(arguments) if arguments.is_elsewhere() => return exit_code(arguments.run_elsewhere().await),
        command => Cli { command },
    };
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        Err(error) => {
            eprintln!("coupon-bench: {error:#}");
            return ExitCode::from(2);
        }
    };
    let outcome = match cli.command {
        Command::Bare(arguments) => bare::run(arguments).await,
        Command::Accept(arguments) => unless_stopped(Box::pin(accept::run(&environment, &arguments))).await,
        Command::Refuse(arguments) => unless_stopped(Box::pin(refuse::run(&environment, &arguments))).await,
        Command::Limits(arguments) => unless_stopped(Box::pin(limits::run(&environment, &arguments))).await,
        Command::Repair(arguments) => repair::run(&environment, &arguments).await,
    };
    exit_code(outcome)
}

/// Gives up when somebody stops it (SIGINT, SIGTERM). What was begun is dropped, and with it end the services and their
/// world.
async fn unless_stopped(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coupon-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
