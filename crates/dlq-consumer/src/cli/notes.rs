//! `note`, `claim`, `release`: what operators tell each other about a row.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use coupon_core::repo::work_list::{Claimed, List, TypedNumber};
use coupon_operations::{
    Operations,
    terminal::{ByArgs, output::time},
    work_list::absent,
};

use super::filter;

/// For the help of `claim`.
pub(super) const CLAIM_EXAMPLES: &str = "Examples:
  dlq-consumer claim E17
  dlq-consumer claim E17 --by alice";
/// For the help of `release`.
pub(super) const RELEASE_EXAMPLES: &str = "Examples:
  dlq-consumer release E17
  dlq-consumer release E17 --by alice";
/// Longest note, in characters.
const MAX_NOTE: usize = 4_000;

/// What to note, and on which row.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer note E17 \"the member was called, ticket 4711\"\n  dlq-consumer note D4 \"sent by the load test\" --by alice"
)]
pub(super) struct NoteArgs {
    /// Number, such as E17 of an entry or D4 of a dead letter; a plain one is of the work list.
    id: TypedNumber,
    /// The words: 1 to 4000 characters.
    #[arg(value_name = "TEXT", value_parser = words)]
    note: String,
    #[command(flatten)]
    by: ByArgs,
}

/// Which entry.
#[derive(Debug, Args)]
pub(super) struct ClaimArgs {
    /// Number of an entry of the work list, such as E17.
    id: TypedNumber,
    #[command(flatten)]
    by: ByArgs,
}

/// `note`.
pub(super) async fn note(operations: &Operations, args: NoteArgs) -> anyhow::Result<ExitCode> {
    let number = args.id.or(List::Requests);
    if !operations.in_the_name_of(args.by.identity()?).note(number, args.note).await? {
        bail!("{}", absent(number, false));
    }
    eprintln!("noted on {number}");
    Ok(ExitCode::SUCCESS)
}

/// `claim`.
pub(super) async fn claim(operations: &Operations, args: ClaimArgs) -> anyhow::Result<ExitCode> {
    let id = filter::ids(&[args.id], List::Requests)?[0];
    let claimed = operations.in_the_name_of(args.by.identity()?).claim(id).await?;
    ended(id, &claimed, "claimed")
}

/// `release`.
pub(super) async fn release(operations: &Operations, args: ClaimArgs) -> anyhow::Result<ExitCode> {
    let id = filter::ids(&[args.id], List::Requests)?[0];
    let released = operations.in_the_name_of(args.by.identity()?).release(id).await?;
    ended(id, &released, "released")
}

fn ended(id: i64, claimed: &Claimed, what: &str) -> anyhow::Result<ExitCode> {
    let number = List::Requests.number(id);
    match claimed {
        Claimed::Done => eprintln!("{number} is {what}"),
        Claimed::Before => eprintln!("{number} was {what} before; nothing was changed"),
        Claimed::By(name, at) => {
            bail!(
                "{number} is claimed by {name} since {}; `dlq-consumer release {number} --by NAME` ends that",
                time(*at)
            )
        }
        Claimed::Absent => bail!("{}", absent(number, false)),
    }
    Ok(ExitCode::SUCCESS)
}

fn words(text: &str) -> Result<String, String> {
    let note = text.trim();
    match note.chars().count() {
        0 => Err("it is empty".to_owned()),
        1..=MAX_NOTE => Ok(note.to_owned()),
        characters => Err(format!("it has {characters} characters, at most {MAX_NOTE} are kept")),
    }
}
