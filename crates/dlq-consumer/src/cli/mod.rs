//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coupon_core::runtime::{SettingsArgs, load, print_effective, process_environment};

mod bar;
mod confirm;
mod filter;
mod operator;
mod print;
mod reconcile;
mod replay;

use crate::{
    config::Config,
    doctor, run,
    work_list::{self, ListArgs, SettleArgs, ShowArgs},
};

/// Repairs what could not be written, or decides against it and gives the unit back; serves the operators.
#[derive(Debug, Parser)]
#[command(name = "dlq-consumer", version, arg_required_else_help = true)]
#[command(
    after_help = "Settings are explained in crates/dlq-consumer/config.default.toml; `dlq-consumer config` prints the effective ones.\n\
                        Exit codes: 0 done, 1 failed, 2 wrong setting or usage."
)]
pub struct Cli {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume the dead letter topic, repair, decide and give back, until stopped.
    Run,
    /// List the work list: requests that were given up. Newest first.
    List(ListArgs),
    /// Show one entry of the work list, or one dead letter, with all there is to know.
    Show(ShowArgs),
    /// Move an entry of the work list from PENDING to RESOLVED: it has been put right.
    Resolve(SettleArgs),
    /// Move an entry of the work list from PENDING to IGNORED: it was looked at, and there is nothing to do.
    Ignore(SettleArgs),
    /// Replay requests that were given up, or dead letters that are held or parked; see and steer replays
    Replay(Box<replay::ReplayArgs>),
    /// Decide held dead letters against their members: the unit goes back
    Compensate(Box<replay::CompensateArgs>),
    /// Compare Redis and PostgreSQL, request by request; with --apply put right what differs
    Reconcile(reconcile::ReconcileArgs),
    /// Fill a campaign's data in Redis anew from PostgreSQL, with its gate closed
    Rebuild(reconcile::RebuildArgs),
    /// End a campaign
    Campaign(reconcile::CampaignArgs),
    /// Print the effective settings as TOML, secrets as ***.
    Config,
    /// Check every dependency, and say what is wrong and how to put it right.
    Doctor,
}

/// Runs the command.
pub async fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let config: Config = load(&cli.settings, process_environment())?;
    match cli.command {
        Command::Run => run::run(config).await,
        Command::List(args) => work_list::list(&config, args).await,
        Command::Show(args) => work_list::show(&config, args).await,
        Command::Resolve(args) => work_list::resolve(&config, args).await,
        Command::Ignore(args) => work_list::ignore(&config, args).await,
        Command::Replay(args) => replay::replay(&config, *args).await,
        Command::Compensate(args) => replay::compensate(&config, *args).await,
        Command::Reconcile(args) => reconcile::reconcile(&config, args).await,
        Command::Rebuild(args) => reconcile::rebuild(&config, args).await,
        Command::Campaign(args) => reconcile::campaign(&config, args).await,
        Command::Config => {
            print!("{}", print_effective(&config));
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor => doctor::doctor(&config).await,
    }
}
