//! `member erase`, `member export`: personal data.

use std::{process::ExitCode, time::Duration};

use anyhow::bail;
use clap::{Args, Subcommand};
use coupon_core::{ids::MemberId, runtime::Usage};
use coupon_operations::{
    Operations,
    members::{CampaignOfMember, ErasurePlan},
    terminal::{
        ByArgs, confirm, counted,
        output::{self, Column, Output},
        reason,
    },
};

use crate::config::Config;

const CAMPAIGNS: &[Column<CampaignOfMember>] = &[
    ("coupon", |row| row.coupon_code.to_string()),
    ("decisions", |row| row.decisions.to_string()),
    ("holder entries", |row| row.holder_entries.to_string()),
];

const TABLES: &[Column<(&'static str, i64)>] =
    &[("table", |(table, _)| (*table).to_owned()), ("rows", |(_, rows)| rows.to_string())];

/// What to do with the data of a member.
#[derive(Debug, Args)]
pub(super) struct MemberArgs {
    #[command(subcommand)]
    command: MemberCommand,
}

#[derive(Debug, Subcommand)]
enum MemberCommand {
    /// Put a pseudonym in the place of a member's id, wherever it is stored. It cannot be taken back.
    #[command(
        before_help = "Examples:\n  dlq-consumer member erase alice --dry-run\n  dlq-consumer member erase alice --reason \"ticket 4711\" --by bob"
    )]
    Erase(EraseArgs),
    /// Print all that is stored about a member, as JSON. It is noted in the audit.
    #[command(
        before_help = "Examples:\n  dlq-consumer member export alice\n  dlq-consumer member export alice --by bob"
    )]
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct EraseArgs {
    /// The member, as the token names them.
    member: MemberId,
    /// Change nothing, say what names the member and what stands in the way.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit; without the member's id.
    #[arg(long, value_name = "WHY", value_parser = reason, required_unless_present = "dry_run")]
    reason: Option<String>,
    #[command(flatten)]
    operator: ByArgs,
    /// Do not ask whether it is meant.
    #[arg(long)]
    yes: bool,
    /// How to print what a dry run has found.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The member, as the token names them.
    member: MemberId,
    #[command(flatten)]
    operator: ByArgs,
}

/// `member …`.
pub(super) async fn member(config: &Config, args: MemberArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        MemberCommand::Erase(args) if args.dry_run => {
            let plan = super::operations(config).await?.plan_erasure(&args.member).await?;
            show(args.output, &plan)?;
            Ok(if plan.in_the_way.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        MemberCommand::Erase(args) => {
            let operations = super::operations_of(config, &args.operator.clone().name()?).await?;
            erase(&operations, args, Duration::from_millis(config.reconcile.wait_ms)).await
        }
        MemberCommand::Export(args) => {
            let operations = super::operations_of(config, &args.operator.name()?).await?;
            let export = operations.export_member(&args.member).await?;
            output::json(&export)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn erase(operations: &Operations, args: EraseArgs, wait: Duration) -> anyhow::Result<ExitCode> {
    let EraseArgs { member, reason, yes, .. } = args;
    confirm::must_be_possible(yes)?;
    if !yes {
        let plan = operations.plan_erasure(&member).await?;
        show(Output::Table, &plan)?;
        if !plan.in_the_way.is_empty() {
            bail!("nothing was changed");
        }
        let what = format!("{} will name {} for good", named(plan.total()), plan.pseudonym.as_str());
        confirm::confirm(&what, member.as_str(), yes)?;
    }
    let erased = operations.erase_member(&member, &reason.unwrap_or_default(), wait).await?;
    if erased.is_nothing() {
        eprintln!("nothing names this member; nothing was changed");
    } else {
        let changed = named(erased.changed.values().sum());
        eprintln!("{changed} that named the member name {} now", erased.pseudonym.as_str());
    }
    Ok(ExitCode::SUCCESS)
}

fn named(total: i64) -> String {
    counted(total, "row or holder entry", "rows and holder entries")
}

fn show(output: Output, plan: &ErasurePlan) -> anyhow::Result<()> {
    match output {
        Output::Json => output::json(plan)?,
        Output::Csv => return Err(Usage("counted are rows of several kinds: as a table, or as json".to_owned()).into()),
        Output::Table => {
            output::section("Campaigns", &plan.campaigns, CAMPAIGNS)?;
            let tables: Vec<(&'static str, i64)> = plan.tables.iter().map(|(table, rows)| (*table, *rows)).collect();
            output::section("Tables", &tables, TABLES)?;
        }
    }
    eprintln!("{} name the member; the pseudonym is {}", named(plan.total()), plan.pseudonym.as_str());
    if plan.is_begun {
        eprintln!("note: an erasure of this member was begun and is not done");
    }
    for sentence in &plan.in_the_way {
        eprintln!("in the way: {sentence}");
    }
    Ok(())
}
