//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coupon_core::runtime::{SettingsArgs, load, print_effective, process_environment};

use crate::{
    alarm,
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
    /// Print the effective settings as TOML, secrets as ***.
    Config,
    /// Send one alarm that is marked as a test through each channel, and say what each answers.
    #[command(before_help = alarm::TEST_EXAMPLES)]
    AlarmTest,
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
        Command::Config => {
            print!("{}", print_effective(&config));
            Ok(ExitCode::SUCCESS)
        }
        Command::AlarmTest => alarm::alarm_test(&config).await,
        Command::Doctor => doctor::doctor(&config).await,
    }
}
