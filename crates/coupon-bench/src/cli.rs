//! The command line: one variant here and one module of the same name for each thing that is measured.

use std::{pin::Pin, process::ExitCode};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    accept, bare, drain, environment::Environment, instructions, limits, model, place, poison, pure, refuse, repair,
    report, scale, size,
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
    WithoutServers(WithoutServers),
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
enum WithoutServers {
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
        Command::WithoutServers(command) => without_servers(command).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coupon-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Begins when nobody else measures on these servers, and gives up when somebody stops it (SIGINT, SIGTERM). What was
/// begun is dropped, and with it end the services and their world.
async fn on_servers(environment: &Environment, command: OnServers) -> anyhow::Result<()> {
    let work: Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>> = match &command {
        OnServers::Limits(arguments) => Box::pin(limits::run(environment, arguments)),
        OnServers::Accept(arguments) => Box::pin(accept::run(environment, arguments)),
        OnServers::Refuse(arguments) => Box::pin(refuse::run(environment, arguments)),
        OnServers::Drain(arguments) => Box::pin(drain::run(environment, arguments)),
        OnServers::Mixed(arguments) => Box::pin(drain::run_mixed(environment, arguments)),
        OnServers::Poison(arguments) => Box::pin(poison::run(environment, arguments)),
        OnServers::Scale(arguments) => Box::pin(scale::run(environment, arguments)),
        OnServers::Size(arguments) => Box::pin(size::run(environment, arguments)),
        // It has a place of its own to remove: it listens for signals, and waits for others, itself.
        OnServers::Repair(arguments) => return repair::run(environment, arguments).await,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let alone = async {
        let _alone = place::alone(environment).await?;
        work.await
    };
    tokio::select! {
        outcome = alone => outcome,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    }
}

async fn without_servers(command: WithoutServers) -> anyhow::Result<()> {
    match command {
        WithoutServers::Report(arguments) => report::run(&arguments),
        WithoutServers::Model(arguments) => model::run(&arguments),
        WithoutServers::Instructions(arguments) => instructions::run(&arguments).await,
        WithoutServers::Pure(arguments) => {
            pure::run(&arguments);
            Ok(())
        }
        WithoutServers::Bare(arguments) => bare::run(arguments).await,
    }
}
