//! The command line: one variant here and one module of the same name for each command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{environment::Environment, instructions, model, pure, repair, report};

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
}

/// Runs the command.
pub async fn execute(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
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
        OnServers::Repair(arguments) => repair::run(environment, &arguments).await,
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
    }
}
