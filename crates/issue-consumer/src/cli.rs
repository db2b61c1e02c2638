//! The command line of `issue-consumer`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coupon_core::{
    repo::{
        Database,
        schema::{self, Schema},
    },
    runtime::{LogSettings, SettingsArgs, load, print_effective, process_environment, telemetry},
};

use crate::{config::Config, run};

/// Writes reserved coupons to PostgreSQL, and owns the schema.
#[derive(Debug, Parser)]
#[command(name = "issue-consumer", version, arg_required_else_help = true)]
#[command(
    after_help = "Settings are explained in crates/issue-consumer/config.default.toml; `issue-consumer config` prints the effective ones.\n\
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
    /// Consume the topic and write, until stopped.
    Run,
    /// Bring the schema up to date. Safe to run again, and from several places at once.
    Migrate,
    /// Print the effective settings as TOML, secrets as ***.
    Config,
    /// Check every dependency, and say what is wrong and how to put it right.
    Doctor,
}

/// Loads the settings and runs the command; the exit code is that of the process.
pub async fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let config: Config = load(&cli.settings, process_environment())?;
    match cli.command {
        Command::Run => run::run(config).await,
        Command::Migrate => migrate(&config).await,
        Command::Config => {
            print!("{}", print_effective(&config));
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor => run::doctor(&config).await,
    }
}

async fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&LogSettings { filter: "warn".to_owned(), ..config.log.clone() }, "issue-consumer");
    let database = Database::new(&config.database, "issue-consumer migrate")?;
    // After a rollback the schema is newer than this build and admits it: there is nothing to migrate.
    if let Ok(Schema::Fits { version }) = database.schema().await {
        eprintln!("the schema has version {version}, which fits");
        return Ok(ExitCode::SUCCESS);
    }
    database.migrate().await?;
    eprintln!("the schema has version {}", schema::newest());
    Ok(ExitCode::SUCCESS)
}
