//! `find`, `issued`: lookups in PostgreSQL and Redis.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use coupon_core::runtime::Usage;
use coupon_core::{
    ids::{CouponCode, MemberId},
    repo::coupon_issues::{DecisionDetails, Issued},
    runtime::chain,
};
use coupon_operations::{
    Operations,
    lookups::{Holder, LookupResult},
    terminal::output::{self, Column, Output, optional, time},
};
use uuid::Uuid;

use crate::cli::columns::{dead_letters, entries};

/// Rows read by one query.
const ISSUED_PAGE_ROWS: i64 = 1_000;

/// What to find.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  dlq-consumer find 01900000-0000-7000-8000-000000000000\n  dlq-consumer find --member alice --output json"
)]
pub(super) struct FindArgs {
    /// A request id, as members and logs name it.
    request_id: Option<Uuid>,
    /// All that this member holds and asked for.
    #[arg(long, value_name = "ID", conflicts_with = "request_id")]
    member: Option<MemberId>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// Whose holders to list.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  dlq-consumer issued SPRING\n  dlq-consumer issued SPRING --output jsonl")]
pub(super) struct IssuedArgs {
    /// The campaign.
    code: CouponCode,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Lines::Csv)]
    output: Lines,
}

/// How a long list is printed, one line for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Lines {
    /// For spreadsheets.
    Csv,
    /// One JSON object on each line.
    Jsonl,
}

const DECISIONS: &[Column<DecisionDetails>] = &[
    ("coupon", |row| row.coupon_code.clone()),
    ("member", |row| row.member_id.clone()),
    ("request id", |row| row.request_id.to_string()),
    ("decision", |row| row.decision.clone()),
    ("reserved at", |row| time(row.reserved_at)),
    ("decided at", |row| time(row.decided_at)),
    ("valid until", |row| optional(row.expires_at.map(time))),
    ("superseded by", |row| optional(row.superseded_by)),
    ("unit back at", |row| optional(row.given_back_at.map(time))),
];

const HOLDERS: &[Column<Holder>] = &[
    ("coupon", |row| row.coupon_code.to_string()),
    ("member", |row| row.member_id.as_str().to_owned()),
    ("request id", |row| row.request_id.to_string()),
];

const ISSUED: &[Column<Issued>] = &[
    ("member_id", |row| row.member_id.clone()),
    ("request_id", |row| row.request_id.to_string()),
    ("reserved_at", |row| time(row.reserved_at)),
    ("decided_at", |row| time(row.decided_at)),
    ("expires_at", |row| optional(row.expires_at.map(time))),
];

/// `find`.
pub(super) async fn find(operations: &Operations, args: FindArgs) -> anyhow::Result<ExitCode> {
    let FindArgs { request_id, member, output } = args;
    let (found, hint) = match (request_id, member) {
        (Some(request_id), _) => {
            let hint = "; one that is reserved and not yet decided is found with --member";
            (operations.find_request(request_id).await?, hint)
        }
        (None, Some(member)) => (operations.find_member(&member).await?, ""),
        (None, None) => return Err(Usage("say which: a request id, or --member ID".to_owned()).into()),
    };
    show(output, &found)?;
    if let Some(error) = &found.redis_is_away {
        eprintln!("note: what Redis has of it is not known: {}", chain(error));
        return Ok(ExitCode::FAILURE);
    }
    if found.is_empty() {
        eprintln!("nothing is known of it{hint}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn show(output: Output, found: &LookupResult) -> anyhow::Result<()> {
    match output {
        Output::Json => output::json(found),
        Output::Csv => Err(Usage("found are rows of several kinds: as a table, or as json".to_owned()).into()),
        Output::Table => {
            output::section("Decisions", &found.decisions, DECISIONS)?;
            output::section("Holder entries in Redis", &found.holders, HOLDERS)?;
            output::section("Entries of the work list", &found.entries, &entries::table(false))?;
            output::section("Dead letters", &found.dead_letters, &dead_letters::table(false))?;
            Ok(())
        }
    }
}

/// `issued`. One page is in memory at a time, however many hold a coupon.
pub(super) async fn issued(operations: &Operations, args: IssuedArgs) -> anyhow::Result<ExitCode> {
    let IssuedArgs { code, output } = args;
    if operations.database.coupons().find(&code).await?.is_none() {
        eprintln!("there is no coupon {code}; `issuer-api coupon list` shows them all");
        return Ok(ExitCode::FAILURE);
    }
    if output == Lines::Csv && !output::is_read(&output::csv(&[], ISSUED)?)? {
        return Ok(ExitCode::SUCCESS);
    }
    let mut after: Option<String> = None;
    loop {
        let rows = operations.database.coupon_issues().list_issued(&code, after.as_deref(), ISSUED_PAGE_ROWS).await?;
        let Some(last) = rows.last() else { return Ok(ExitCode::SUCCESS) };
        after = Some(last.member_id.clone());
        let text = match output {
            Lines::Csv => output::csv_rows(&rows, ISSUED)?,
            Lines::Jsonl => {
                let line = |row: &Issued| Ok(output::safe_json(&serde_json::to_string(row)?) + "\n");
                rows.iter().map(line).collect::<serde_json::Result<String>>()?
            }
        };
        if !output::is_read(&text)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}
