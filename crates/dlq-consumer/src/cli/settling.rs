//! `resolve`, `ignore`, `reopen`: an operator settles named rows, or all of a filter.

use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use coupon_core::{
    repo::{
        jobs::ServiceJobStatus,
        work_list::{Filter, List, Settling, TypedNumber, Verb},
    },
    runtime::{Escaped, Usage},
};
use coupon_operations::{
    Operations,
    jobs::ServiceJob,
    plans::Change,
    terminal::{ByArgs, Progress, confirm, counted, output, reason},
};

use super::{
    filter::{self, FilterArgs},
    follow,
};

/// For the help of `resolve`.
pub(super) const RESOLVE_EXAMPLES: &str = "Examples:
  dlq-consumer resolve E17 E18 --reason \"issued by hand, ticket 4711\"
  dlq-consumer resolve --coupon SPRING --cause \"disk full\" --up-to E5000 --reason \"replayed\" --dry-run";
/// For the help of `ignore`.
pub(super) const IGNORE_EXAMPLES: &str = "Examples:
  dlq-consumer ignore E18 --reason \"a test account\" --by alice
  dlq-consumer ignore D4 --reason \"written by a load test\"";
/// For the help of `reopen`.
pub(super) const REOPEN_EXAMPLES: &str = "Examples:
  dlq-consumer reopen E18 --reason \"it was no test account\"
  dlq-consumer reopen --coupon SPRING --since 2h --up-to E5000 --reason \"ignored by mistake\" --yes";

/// What to settle, and why.
#[derive(Debug, Args)]
pub(super) struct SettleArgs {
    /// Numbers, such as E17 or D4; without any, all that the filter chooses, up to the number given with --up-to.
    #[arg(value_name = "ID")]
    ids: Vec<TypedNumber>,
    /// Dead letters instead of entries of the work list.
    #[arg(long, alias = "dead-letter")]
    dead_letters: bool,
    /// No higher number, because what came after you looked is not meant; needed without numbers.
    #[arg(long, value_name = "ID")]
    up_to: Option<TypedNumber>,
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

/// `resolve`, `ignore`, `reopen`.
pub(super) async fn settle(operations: &Operations, args: SettleArgs, verb: Verb) -> anyhow::Result<ExitCode> {
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
    let numbers = filter::numbers(&ids, dead_letters)?;
    let list = filter::list(dead_letters);
    let up_to = filter::bound(up_to, list)?;
    let settling = |list| Settling { list, verb, reason: reason.clone().unwrap_or_default() };
    let (_, to) = verb.transition(list);
    if is_by_numbers {
        let operations = if dry_run { operations.clone() } else { operations.in_the_name_of(by.identity()?) };
        let mut ended = ExitCode::SUCCESS;
        for list in [List::Requests, List::DlqEvents] {
            let ids: Vec<i64> = numbers.iter().filter(|number| number.list == list).map(|number| number.id).collect();
            if ids.is_empty() {
                continue;
            }
            if dry_run {
                let filter = Filter { ids, ..Filter::default() };
                let count = operations.database.work_list().count_to_settle(list, verb, &filter).await?;
                output::put(&format!("{} would become {}", rows(list, count), verb.transition(list).1))?;
                continue;
            }
            let settling = settling(list);
            let settled = operations.settle_each(&settling, &ids).await?;
            for (id, settled) in &settled {
                eprintln!("{}", settled.sentence(*id, &settling));
            }
            if !settled.iter().all(|(_, settled)| settled.is_so()) {
                ended = ExitCode::FAILURE;
            }
        }
        return Ok(ended);
    }
    let filter = Filter { up_to, ..which.filter(operations.clock.now()) };
    if !dry_run {
        confirm::must_be_possible(yes)?;
    }
    let operations = &if dry_run { operations.clone() } else { operations.in_the_name_of(by.identity()?) };
    let count = operations.database.work_list().count_to_settle(list, verb, &filter).await?;
    if count == 0 && filter::says_mistyped(operations, list, &filter).await? {
        return Ok(ExitCode::FAILURE);
    }
    if dry_run {
        output::put(&format!("{} would become {to}", rows(list, count)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if count > 0 {
        let word = filter.coupon.as_ref().map_or("all", |coupon| coupon.as_str());
        confirm::confirm(&format!("{} will become {to}", rows(list, count)), word, yes)?;
    }
    let changed = if operations.has_workers().await? {
        let reason = reason.unwrap_or_default();
        let change = match verb {
            Verb::Resolve => Change::Resolve { list, filter },
            Verb::Ignore => Change::Ignore { list, filter },
            Verb::Reopen => Change::Reopen { list, filter },
        };
        let bar = Progress::new("rows");
        let done = |job: &ServiceJob| job.progress["done"].as_i64().unwrap_or(0);
        let all = u64::try_from(count).unwrap_or(0);
        let on_progress = |job: &ServiceJob| bar.of(u64::try_from(done(job)).unwrap_or(0), all);
        let ended = follow::change(operations, change, &reason, None, &on_progress).await;
        bar.end();
        let ended = ended?;
        ensure!(ended.status == ServiceJobStatus::Done, "{}", Escaped(&ended.note));
        done(&ended)
    } else {
        i64::try_from(operations.settle_all(&settling(list), &filter).await?)?
    };
    eprintln!("{} became {to}", rows(list, changed));
    Ok(ExitCode::SUCCESS)
}

/// Returns a count of rows with the noun of their list.
pub(super) fn rows(list: List, count: i64) -> String {
    match list {
        List::Requests => counted(count, "entry", "entries"),
        List::DlqEvents => counted(count, "dead letter", "dead letters"),
    }
}
