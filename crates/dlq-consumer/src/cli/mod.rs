//! The command line: parses, asks whether it is meant, and prints. What a verb does is in [`coupon_operations`].
//!
//! A group of verbs is a file here, and one of the same name there. Data goes to standard output, talk to standard error.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use coupon_core::{
    repo::{Database, audit::Identity, work_list::Verb},
    runtime::{LogSettings, SettingsArgs, load, print_effective, process_environment, telemetry},
    stock::Stock,
};
use coupon_operations::{Operations, terminal::require_schema};

use crate::{alarm, config::Config, doctor, run};

mod columns;
mod compensate;
mod decisions;
mod filter;
mod follow;
mod job;
mod lookups;
mod member;
mod notes;
mod operator;
mod reconcile;
mod replay;
mod retention;
mod settling;
mod webhook;
mod work_list;

/// The name of the connections in `pg_stat_activity`.
const SERVICE: &str = "dlq-consumer operator";

/// Repairs what could not be written, or decides against it and gives the unit back; serves the operators.
#[derive(Debug, Parser)]
#[command(name = "dlq-consumer", version, arg_required_else_help = true)]
#[command(
    after_help = "Settings are explained in crates/dlq-consumer/config.default.toml; `dlq-consumer config` prints the effective ones.\n\
                        Exit codes: 0 done, 1 failed, 2 wrong setting or usage, 3 drift was found and is left,\n\
                        4 what had to be waited for or judged was not there in time."
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
    #[command(before_help = "Examples:\n  dlq-consumer run\n  dlq-consumer run --set give_up.burst=50")]
    Run,
    /// List the work list: compensated requests. Newest first.
    List(work_list::ListArgs),
    /// Show one entry of the work list, or one dead letter, with all there is to know.
    Show(work_list::ShowArgs),
    /// Say how much waits, since when, and why.
    Stats(work_list::StatsArgs),
    /// Group failures by their cause, most first.
    Causes(work_list::CausesArgs),
    /// Move entries of the work list from PENDING to RESOLVED: they have been put right. Dead letters: from PARKED.
    #[command(before_help = settling::RESOLVE_EXAMPLES)]
    Resolve(settling::SettleArgs),
    /// Move entries of the work list from PENDING to IGNORED: there is nothing to do. Dead letters: from PARKED.
    #[command(before_help = settling::IGNORE_EXAMPLES)]
    Ignore(settling::SettleArgs),
    /// Move entries of the work list from IGNORED, or named ones from RESOLVED, back to PENDING. Dead letters: back to
    /// PARKED.
    #[command(before_help = settling::REOPEN_EXAMPLES)]
    Reopen(settling::SettleArgs),
    /// Note something on an entry of the work list, or on a dead letter, for whoever looks later.
    Note(notes::NoteArgs),
    /// Say that you look after an entry of the work list; it holds nobody else up.
    #[command(before_help = notes::CLAIM_EXAMPLES)]
    Claim(notes::ClaimArgs),
    /// Say that nobody looks after an entry of the work list any more.
    #[command(before_help = notes::RELEASE_EXAMPLES)]
    Release(notes::ClaimArgs),
    /// Find all there is of a request, or of a member: decisions, entries, dead letters, holder entries in Redis.
    Find(lookups::FindArgs),
    /// List who holds a coupon of a campaign, as CSV or JSON lines.
    Issued(lookups::IssuedArgs),
    /// Erase a member, or export all that is stored about one.
    Member(member::MemberArgs),
    /// Read who changed what by hand. Newest first.
    Audit(work_list::AuditArgs),
    /// Replay compensated requests, or dead letters that are held or parked; see and steer replays.
    Replay(Box<replay::ReplayArgs>),
    /// See and cancel what services do for operators; replays have `replay`.
    #[command(
        before_help = "Examples:\n  dlq-consumer job status\n  dlq-consumer job cancel 3 --reason \"wrong coupon\" --by alice"
    )]
    Job(job::JobArgs),
    /// Decide dead letters that are held, or parked and readable, against their members: the unit goes back.
    Compensate(Box<compensate::CompensateArgs>),
    /// Compare Redis and PostgreSQL, request by request; with --apply put right what differs.
    Reconcile(reconcile::ReconcileArgs),
    /// Fill a campaign's data in Redis anew from PostgreSQL, with its gate closed.
    Rebuild(reconcile::RebuildArgs),
    /// Publish decisions as events again.
    Decisions(decisions::DecisionsArgs),
    /// End a campaign.
    Campaign(reconcile::CampaignArgs),
    /// Delete what is old and done; `run` does so every hour. Decisions and what waits for somebody never go.
    Purge(retention::PurgeArgs),
    /// See what was sent to webhooks, and send it again.
    #[command(
        before_help = "Examples:\n  dlq-consumer webhook list --status FAILED\n  dlq-consumer webhook resend 17 --by alice"
    )]
    Webhook(webhook::WebhookArgs),
    /// Add operators of the console, give them a login link, list and revoke them.
    Operator(operator::OperatorArgs),
    /// Ask what the console can do.
    Console(operator::ConsoleArgs),
    /// Print the effective settings as TOML, secrets as ***.
    #[command(before_help = "Examples:\n  dlq-consumer config\n  dlq-consumer config --set retention.days=90")]
    Config,
    /// Send one alarm that is marked as a test through each channel, and say what each answers.
    #[command(before_help = alarm::TEST_EXAMPLES)]
    AlarmTest,
    /// Check every dependency, and say what is wrong and how to put it right.
    #[command(
        before_help = "Examples:\n  dlq-consumer doctor\n  dlq-consumer doctor --set kafka.brokers=127.0.0.1:9092"
    )]
    Doctor,
}

/// Runs the command.
pub async fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let config: Config = load(&cli.settings, process_environment())?;
    match cli.command {
        Command::Run => Box::pin(run::run(config)).await,
        Command::List(args) => work_list::list(&operations(&config).await?, args).await,
        Command::Show(args) => work_list::show(&operations(&config).await?, args).await,
        Command::Stats(args) => work_list::stats(&config, &args).await,
        Command::Causes(args) => work_list::causes(&operations(&config).await?, args).await,
        Command::Resolve(args) => settling::settle(&operations(&config).await?, args, Verb::Resolve).await,
        Command::Ignore(args) => settling::settle(&operations(&config).await?, args, Verb::Ignore).await,
        Command::Reopen(args) => settling::settle(&operations(&config).await?, args, Verb::Reopen).await,
        Command::Note(args) => notes::note(&operations(&config).await?, args).await,
        Command::Claim(args) => notes::claim(&operations(&config).await?, args).await,
        Command::Release(args) => notes::release(&operations(&config).await?, args).await,
        Command::Find(args) => lookups::find(&operations(&config).await?, args).await,
        Command::Issued(args) => lookups::issued(&operations(&config).await?, args).await,
        Command::Member(args) => member::member(&config, args).await,
        Command::Audit(args) => work_list::audit(&operations(&config).await?, args).await,
        Command::Purge(args) => retention::purge(&operations(&config).await?, args, config.retention.days).await,
        Command::Replay(args) => Box::pin(replay::replay(&config, *args)).await,
        Command::Job(args) => job::job(&config, args).await,
        Command::Compensate(args) => compensate::compensate(&config, *args).await,
        Command::Reconcile(args) => reconcile::reconcile(&config, args).await,
        Command::Rebuild(args) => reconcile::rebuild(&config, args).await,
        Command::Decisions(args) => Box::pin(decisions::decisions(&config, args)).await,
        Command::Campaign(args) => reconcile::campaign(&config, args).await,
        Command::Webhook(args) => webhook::webhook(&config, args).await,
        Command::Operator(args) => operator::operator(&config, args).await,
        Command::Console(args) => operator::console(&args),
        Command::Config => {
            print!("{}", print_effective(&config));
            Ok(ExitCode::SUCCESS)
        }
        Command::AlarmTest => alarm::alarm_test(&config.alarm_settings()).await,
        Command::Doctor => Box::pin(doctor::doctor(&config)).await,
    }
}

/// Returns the operations of a command that changes nothing.
async fn operations(config: &Config) -> anyhow::Result<Operations> {
    operations_of(config, "unknown").await
}

/// Returns the operations in the name of `by`. Their log has warnings and errors only.
async fn operations_of(config: &Config, by: &str) -> anyhow::Result<Operations> {
    telemetry::init(&LogSettings { filter: "warn".to_owned(), ..config.log.clone() }, "dlq-consumer");
    let operations = config.operations(
        Database::new(&config.database, SERVICE)?,
        Stock::new(&config.redis)?,
        SERVICE,
        Identity::command_line(by),
    )?;
    require_schema(&operations.database).await?;
    Ok(operations)
}

#[cfg(test)]
mod tests;
