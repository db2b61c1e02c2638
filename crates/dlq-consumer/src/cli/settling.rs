//! `resolve`, `ignore`, `reopen`: an operator's word on some rows, or on many.

use std::process::ExitCode;

use clap::Args;
use coupon_core::repo::{
    filter::Filter,
    settling::{List, Settling, Verb},
};

use super::{
    ByArgs, Usage, confirm,
    filter::{self, FilterArgs},
    print,
};
use crate::desk::{Desk, work_list::Settled};

/// For the help of `resolve`.
pub(super) const RESOLVE_EXAMPLES: &str = "Examples:
  dlq-consumer resolve 17 18 --reason \"issued by hand, ticket 4711\"
  dlq-consumer resolve --coupon SPRING --cause \"disk full\" --up-to 5000 --reason \"replayed\" --dry-run";
/// For the help of `ignore`.
pub(super) const IGNORE_EXAMPLES: &str = "Examples:
  dlq-consumer ignore 18 --reason \"a test account\" --by alice
  dlq-consumer ignore --dead-letters 4 --reason \"written by a load test\"";
/// For the help of `reopen`.
pub(super) const REOPEN_EXAMPLES: &str = "Examples:
  dlq-consumer reopen 18 --reason \"it was no test account\"
  dlq-consumer reopen --coupon SPRING --since 2h --up-to 5000 --reason \"ignored by mistake\" --yes";

/// What to settle, and why.
#[derive(Debug, Args)]
pub(super) struct SettleArgs {
    /// Numbers; without any, all that the filter chooses, up to the number given with --up-to.
    #[arg(value_name = "ID")]
    ids: Vec<i64>,
    /// Dead letters instead of entries of the work list.
    #[arg(long, alias = "dead-letter")]
    dead_letters: bool,
    /// No higher number, because what came after you looked is not meant; needed without numbers.
    #[arg(long, value_name = "ID")]
    up_to: Option<i64>,
    /// Why, for whoever looks later: 1 to 2000 bytes.
    #[arg(long, value_parser = reason, required_unless_present = "dry_run")]
    reason: Option<String>,
    #[command(flatten)]
    by: ByArgs,
    /// Change nothing, say how many would be changed.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask whether all that the filter chooses is meant.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    which: FilterArgs,
}

/// `resolve`.
pub(super) async fn resolve(desk: &Desk, args: SettleArgs) -> anyhow::Result<ExitCode> {
    settle(desk, args, Verb::Resolve).await
}

/// `ignore`.
pub(super) async fn ignore(desk: &Desk, args: SettleArgs) -> anyhow::Result<ExitCode> {
    settle(desk, args, Verb::Ignore).await
}

/// `reopen`.
pub(super) async fn reopen(desk: &Desk, args: SettleArgs) -> anyhow::Result<ExitCode> {
    settle(desk, args, Verb::Reopen).await
}

async fn settle(desk: &Desk, args: SettleArgs, verb: Verb) -> anyhow::Result<ExitCode> {
    let SettleArgs { ids, dead_letters, up_to, reason, by, dry_run, yes, which } = args;
    let is_by_numbers = match (ids.is_empty(), up_to.is_some() || which.is_given()) {
        (false, false) => true,
        (true, true) if up_to.is_some() => false,
        (false, true) => return Err(Usage("numbers or a filter, not both".to_owned()).into()),
        (true, true) => {
            let sentence = "a filter needs --up-to ID, the highest number you have seen: what comes later is not meant";
            return Err(Usage(sentence.to_owned()).into());
        }
        (true, false) => {
            return Err(Usage("say which: numbers, or a filter with --up-to ID".to_owned()).into());
        }
    };
    let list = filter::list(dead_letters);
    let settling = Settling { list, verb, reason: reason.unwrap_or_default() };
    let filter = Filter { ids: ids.clone(), up_to, ..which.filter(desk.clock.now()) };
    let (_, to) = verb.transition(list);
    let rows = |count: i64| format!("{count} {}", noun(list, count));
    if dry_run {
        let count = desk.database.count_to_settle(list, verb, &filter).await?;
        print::put(&format!("{} would become {to}", rows(count)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let by = by.name()?;
    if is_by_numbers {
        let settled = desk.settle_each(&settling, &ids, &by).await?;
        for (id, settled) in &settled {
            eprintln!("{}", settled.sentence(*id, &settling));
        }
        return Ok(code(settled.iter().map(|(_, settled)| settled)));
    }
    confirm::must_be_possible(yes)?;
    let count = desk.database.count_to_settle(list, verb, &filter).await?;
    if count > 0 {
        let word = filter.coupon.as_ref().map_or("all", |coupon| coupon.as_str());
        confirm::confirm(&format!("{} will become {to}", rows(count)), word, yes)?;
    }
    let changed = desk.settle_all(&settling, &filter, &by).await?;
    eprintln!("{} became {to}", rows(i64::try_from(changed)?));
    Ok(ExitCode::SUCCESS)
}

fn code<'a>(mut settled: impl Iterator<Item = &'a Settled>) -> ExitCode {
    if settled.all(Settled::is_so) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn noun(list: List, count: i64) -> &'static str {
    match (list, count) {
        (List::Requests, 1) => "entry",
        (List::Requests, _) => "entries",
        (List::Letters, 1) => "dead letter",
        (List::Letters, _) => "dead letters",
    }
}

pub(super) fn reason(text: &str) -> Result<String, String> {
    let reason = text.trim();
    match reason.len() {
        0 => Err("it is empty: say why, for whoever looks later".to_owned()),
        1..=2000 => Ok(reason.to_owned()),
        bytes => Err(format!("it has {bytes} bytes, at most 2000 are kept")),
    }
}
