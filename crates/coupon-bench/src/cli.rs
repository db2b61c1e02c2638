//! The command line: one variant here and one module of the same name for each thing that is measured.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    accept, bare, browse, decisions, drain, environment::Environment, instructions, limits, model, poison, pure,
    refuse, repair, report, rest, rows, rush, scale, size,
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

/// What works on servers needs their addresses; the last six do not.
#[derive(Debug, Subcommand)]
enum Command {
    /// Measure HTTP, with the check of a token and without, the script and the producer, each alone.
    Limits(limits::LimitsArgs),
    /// Measure what issuer-api accepts, and how soon there is an answer and a row.
    Accept(accept::AcceptArgs),
    /// Measure how fast members are refused because nothing is left.
    Refuse(refuse::RefuseArgs),
    /// Measure a rush of many members within one second for few coupons.
    Rush(rush::RushArgs),
    /// Measure what issuer-api asks Redis while nobody asks it, with one campaign and with many.
    Rest(rest::RestArgs),
    /// Measure how fast one issue-consumer writes the events of one hot coupon, against `COPY`.
    Drain(drain::DrainArgs),
    /// The same with the events of 100 coupons in turn.
    Mixed(drain::DrainArgs),
    /// Measure how fast healthy events are written while one in a hundred always fails.
    Poison(poison::PoisonArgs),
    /// Measure what numbering decisions, and publishing them as events, costs the drain.
    Decisions(decisions::DecisionsArgs),
    /// Measure two issue-consumers against one where PostgreSQL is not the limit.
    Scale(scale::ScaleArgs),
    /// Measure what an issue costs with 10 thousand, a million and 10 million issued of one coupon.
    Size(size::SizeArgs),
    /// Measure the pipeline against coupons that are rows of PostgreSQL, without Redis and Kafka.
    Rows(rows::RowsArgs),
    /// Measure `dlq-consumer reconcile` and `rebuild` on one coupon with many issued members.
    Repair(repair::RepairArgs),
    /// Measure the pages of the console over a long work list, and whether accepting notices operators.
    Browse(browse::BrowseArgs),
    /// Put what several commands have measured into one table and one plot.
    Report(report::ReportArgs),
    /// Predict from what was measured what a peak needs of each stage, and what gives in first.
    Model(model::ModelArgs),
    /// Count the instructions and allocations of the parts without I/O, each against its limit; needs valgrind.
    Instructions(instructions::InstructionsArgs),
    /// Do one part without I/O again and again; what `instructions` looks at.
    #[command(hide = true)]
    Pure(pure::PureArgs),
    /// The limit of HTTP, as a process.
    #[command(hide = true)]
    Bare(bare::BareArgs),
    /// Coupons that are rows of PostgreSQL, as a process.
    #[command(hide = true)]
    RowsServer(rows::server::ServerArgs),
}

/// Runs the command and returns the exit code of the process.
pub async fn execute(cli: Cli) -> ExitCode {
    let environment = Environment::of_process();
    let outcome = match (cli.command, &environment) {
        (Command::Accept(arguments), _) if arguments.is_elsewhere() => arguments.run_elsewhere().await,
        (Command::Report(arguments), _) => report::run(&arguments),
        (Command::Model(arguments), _) => model::run(&arguments),
        (Command::Instructions(arguments), _) => instructions::run(&arguments).await,
        (Command::Pure(arguments), _) => pure::run(&arguments),
        (Command::Bare(arguments), _) => bare::run(arguments).await,
        (Command::RowsServer(arguments), _) => rows::server::run(arguments).await,
        (_, Err(error)) => return failed(error, 2),
        (command, Ok(environment)) => on_servers(environment, command).await,
    };
    outcome.map_or_else(|error| failed(&error, 1), |()| ExitCode::SUCCESS)
}

fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("coupon-bench: {error:#}");
    ExitCode::from(code)
}

/// Begins when nobody else measures on these servers, and ends early when somebody stops it (SIGINT, SIGTERM). What was
/// begun is dropped, and with it end the services and their world.
async fn on_servers(environment: &Environment, command: Command) -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let alone = async {
        let _alone = environment.alone().await?;
        match &command {
            Command::Limits(arguments) => limits::run(environment, arguments).await,
            Command::Accept(arguments) => accept::run(environment, arguments).await,
            Command::Refuse(arguments) => refuse::run(environment, arguments).await,
            Command::Rush(arguments) => rush::run(environment, arguments).await,
            Command::Rest(arguments) => rest::run(environment, arguments).await,
            Command::Drain(arguments) => drain::run(environment, arguments).await,
            Command::Mixed(arguments) => drain::run_mixed(environment, arguments).await,
            Command::Poison(arguments) => poison::run(environment, arguments).await,
            Command::Decisions(arguments) => decisions::run(environment, arguments).await,
            Command::Scale(arguments) => scale::run(environment, arguments).await,
            Command::Size(arguments) => size::run(environment, arguments).await,
            Command::Rows(arguments) => rows::run(environment, arguments).await,
            Command::Repair(arguments) => repair::run(environment, arguments).await,
            Command::Browse(arguments) => browse::run(environment, arguments).await,
            _ => unreachable!("what needs no server was run before"),
        }
    };
    tokio::select! {
        outcome = alone => outcome,
        _ = interrupt.recv() => anyhow::bail!("stopped by SIGINT; what was made is removed"),
        _ = terminate.recv() => anyhow::bail!("stopped by SIGTERM; what was made is removed"),
    }
}
