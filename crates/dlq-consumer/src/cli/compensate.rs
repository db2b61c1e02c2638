//! `compensate`.

use std::process::ExitCode;

use clap::Args;
use coupon_core::repo::{dead_letters::LetterStatus, filter::Filter, replay_jobs::JobKind};

use super::{ByArgs, Usage, bar::Bar, confirm::confirm, desk_of, filter::FilterArgs, replay::meant, settling::reason};
use crate::{
    config::Config,
    desk::replay::{Compensated, Request},
};

/// What to compensate.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer compensate 4 --reason \"the member was paid\"\n  dlq-consumer compensate --coupon SPRING --up-to 120 --reason \"campaign called off\" --yes"
)]
pub struct CompensateArgs {
    /// Numbers of held dead letters; all that the filter means when none is given
    ids: Vec<i64>,
    #[command(flatten)]
    filter: FilterArgs,
    /// No higher number than this: what comes later is not meant.
    #[arg(long, value_name = "ID")]
    up_to: Option<i64>,
    /// Why, for whoever looks later
    #[arg(long, value_parser = reason)]
    reason: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    operator: ByArgs,
}

/// `compensate`.
pub async fn compensate(config: &Config, args: CompensateArgs) -> anyhow::Result<ExitCode> {
    if args.ids.is_empty() && !args.filter.is_given() {
        return Err(Usage("say which: numbers, or a filter such as --coupon CODE".to_owned()).into());
    }
    let coupon = args.filter.coupon.clone();
    let filter = Filter { ..meant(args.filter, args.ids, args.up_to) }.of_letter_status(LetterStatus::Held);
    let desk = desk_of(config, &args.operator.name()?).await?;
    let request = Request {
        kind: JobKind::Letters,
        filter: filter.clone(),
        after_close: true,
        per_second: 1.0,
        reason: String::new(),
    };
    let plan = desk.plan_replay(&request).await?;
    if plan.eligible == 0 {
        eprintln!("no held dead letter is meant; `dlq-consumer list --dead-letters --status HELD` shows them");
        return Ok(ExitCode::FAILURE);
    }
    let name = coupon.map_or_else(|| "all".to_owned(), |code| code.to_string());
    let what = format!("compensate {} held requests: their members lose what they were promised", plan.eligible);
    confirm(&what, &name, args.yes)?;
    let filter = Filter { up_to: Some(plan.up_to), ..filter };
    let bar = Bar::of_one("requests");
    let all = u64::try_from(plan.eligible).unwrap_or(0);
    let told = |sum: &Compensated| bar.of(sum.compensated + sum.decided_before + sum.left, all);
    let sum = desk.compensate(&filter, &args.reason, &told).await;
    bar.end();
    let sum = sum?;
    eprintln!(
        "{} compensated, {} had been decided before, {} left as they are",
        sum.compensated, sum.decided_before, sum.left
    );
    Ok(if sum.left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
