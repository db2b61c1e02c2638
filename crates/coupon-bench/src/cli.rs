//! The command line: one variant here and one module of the same name for each thing that is measured.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    accept, bare, drain, environment::Environment, instructions, limits, model, poison, pure, refuse, repair, report,
    scale, size,
};

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
    #[command(flatten)]
    OnServers(OnServers),
    #[command(flatten)]
    Alone(Alone),
}

/// What works on servers, and so needs their addresses.
#[derive(Debug, Subcommand)]
enum OnServers {
    /// Measure HTTP, the script and the producer, each alone.
    Limits(limits::LimitsArgs),
    /// Measure what issuer-api accepts, and how soon there is an answer and a row.
    Accept(accept::AcceptArgs),
    /// Measure how fast members are told that nothing is left.
    Refuse(refuse::RefuseArgs),
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
    /// Measure `dlq-consumer reconcile` and `rebuild` on one coupon with many issued members.
    Repair(repair::RepairArgs),
}

/// What needs no server.
#[derive(Debug, Subcommand)]
enum Alone {
    /// Put what several commands have measured into one table and one plot.
    Report(report::ReportArgs),
    /// Predict from what was measured what a peak needs of each stage, and what gives in first.
    Model(model::ModelArgs),
    /// Count the instructions of the parts without I/O, each against its limit; needs valgrind.
    Instructions(instructions::InstructionsArgs),
    /// Do one part without I/O again and again; what `instructions` looks at.
    #[command(hide = true)]
    Pure(pure::PureArgs),
    /// The limit of HTTP, as a process.
    #[command(hide = true)]
    Bare(bare::BareArgs),
}

/// Runs the command.
pub async fn execute(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::OnServers(OnServers::Accept(arguments)) if arguments.is_elsewhere() => arguments.run_elsewhere().await,
        Command::OnServers(command) => match Environment::of_process() {
            Ok(environment) => on_servers(&environment, command).await,
            Err(error) => {
                eprintln!("coupon-bench: {error:#}");
                return ExitCode::from(2);
            }
        },
        Command::Alone(command) => alone(command).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coupon-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn on_servers(environment: &Environment, command: OnServers) -> anyhow::Result<()> {
    match command {
        OnServers::Limits(arguments) => unless_stopped(limits::run(environment, &arguments)).await,
        OnServers::Accept(arguments) => unless_stopped(accept::run(environment, &arguments)).await,
        OnServers::Refuse(arguments) => unless_stopped(refuse::run(environment, &arguments)).await,
        OnServers::Drain(arguments) => unless_stopped(drain::run(environment, &arguments)).await,
        OnServers::Mixed(arguments) => unless_stopped(drain::run_mixed(environment, &arguments)).await,
        OnServers::Poison(arguments) => unless_stopped(poison::run(environment, &arguments)).await,
        OnServers::Scale(arguments) => unless_stopped(scale::run(environment, &arguments)).await,
        OnServers::Size(arguments) => unless_stopped(size::run(environment, &arguments)).await,
        // It has a place of its own to remove, and listens for signals itself.
        OnServers::Repair(arguments) => repair::run(environment, &arguments).await,
    }
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

async fn alone(command: Alone) -> anyhow::Result<()> {
    match command {
        Alone::Report(arguments) => report::run(&arguments),
        Alone::Model(arguments) => model::run(&arguments),
        Alone::Instructions(arguments) => instructions::run(&arguments).await,
        Alone::Pure(arguments) => {
            pure::run(&arguments);
            Ok(())
        }
        Alone::Bare(arguments) => bare::run(arguments).await,
    }
}
