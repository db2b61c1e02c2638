//! The command line of `issue-consumer`.

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use coupon_core::{
    failure::{Class, Classified},
    repo::{
        Database, RepoError,
        schema::{self, Schema},
    },
    runtime::{LogSettings, SettingsArgs, load, print_effective, process_environment, telemetry},
};
use tokio::time::Instant;

use crate::{config::Config, run};

/// Pause before PostgreSQL is asked again by `migrate --wait-s`.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

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
    Migrate {
        /// How long a PostgreSQL that cannot be reached is waited for, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait_s: u64,
    },
    /// Print the effective settings as TOML, secrets as ***.
    Config,
    /// Check every dependency, and say what is wrong and how to put it right.
    Doctor,
}

/// Loads the settings and runs the command; the exit code is that of the process.
pub async fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let config: Config = load(&cli.settings, process_environment())?;
    match cli.command {
        Command::Run => Box::pin(run::run(config)).await,
        Command::Migrate { wait_s } => migrate(&config, Duration::from_secs(wait_s)).await,
        Command::Config => {
            print!("{}", print_effective(&config));
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor => Box::pin(run::doctor(&config)).await,
    }
}

async fn migrate(config: &Config, wait: Duration) -> anyhow::Result<ExitCode> {
    telemetry::init(&LogSettings { filter: "warn".to_owned(), ..config.log.clone() }, "issue-consumer");
    let database = Database::new(&config.database, "issue-consumer migrate")?;
    // After a rollback the schema is newer than this build and admits it: there is nothing to migrate.
    if let Ok(Schema::Fits { version }) = schema_within(&database, wait).await {
        eprintln!("the schema has version {version}, which fits");
        return Ok(ExitCode::SUCCESS);
    }
    database.migrate().await?;
    eprintln!("the schema has version {}", schema::newest());
    Ok(ExitCode::SUCCESS)
}

/// Returns the state of the schema. While PostgreSQL is away it is asked again every two seconds, for at most `wait`.
async fn schema_within(database: &Database, wait: Duration) -> Result<Schema, RepoError> {
    let started = Instant::now();
    loop {
        match database.schema().await {
            Err(away) if away.class() == Class::Unavailable && started.elapsed() < wait => {
                tracing::warn!("postgresql is waited for: {}", away.summary());
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            answer => return answer,
        }
    }
}
