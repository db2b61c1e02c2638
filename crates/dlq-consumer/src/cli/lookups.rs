//! `find`, `issued`: lookups in PostgreSQL and Redis.

use std::{mem, process::ExitCode};

use clap::{Args, ValueEnum};
use coupon_core::{
    ids::{CouponCode, MemberId},
    repo::{
        coupon_issues::{DecisionDetails, Issued},
        coupons::Coupon,
    },
    runtime::{Usage, chain},
    stock::StockError,
};
use coupon_operations::{
    Operations,
    lookups::{CampaignWithout, HolderEntry, MemberStanding, RequestOfMember, RequestTimeline, Step, StoredRows},
    terminal::output::{self, Column, Output, optional, time},
};
use serde::Serialize;
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

const HOLDERS: &[Column<HolderEntry>] = &[
    ("coupon", |row| row.coupon_code.to_string()),
    ("member", |row| row.member_id.as_str().to_owned()),
    ("request id", |row| row.request_id.to_string()),
];

const STEPS: &[Column<Step>] = &[
    ("at", |row| optional(row.at.map(time))),
    ("what", |row| row.what.to_owned()),
    ("detail", |row| row.detail.clone()),
];

const REQUESTS: &[Column<RequestOfMember>] = &[
    ("coupon", |row| row.coupon_code.clone()),
    ("request id", |row| row.request_id.to_string()),
    ("state", |row| row.state.to_owned()),
    ("facts", |row| row.facts.clone()),
    ("to tell the member", |row| row.sentence.clone()),
];

const WITHOUT: &[Column<CampaignWithout>] = &[
    ("coupon", |row| row.coupon_code.to_string()),
    ("status", |row| row.status.to_string()),
    ("facts", |row| row.facts.clone()),
    ("to tell the member", |row| row.sentence.clone()),
];

const ISSUED: &[Column<Issued>] = &[
    ("member_id", |row| row.member_id.clone()),
    ("request_id", |row| row.request_id.to_string()),
    ("reserved_at", |row| time(row.reserved_at)),
    ("decided_at", |row| time(row.decided_at)),
    ("expires_at", |row| optional(row.expires_at.map(time))),
];

/// What was found, as JSON.
#[derive(Serialize)]
struct Found {
    #[serde(flatten)]
    timeline: Option<RequestTimeline>,
    #[serde(flatten)]
    standing: Option<MemberStanding>,
    #[serde(flatten)]
    rows: StoredRows,
    holders: Vec<HolderEntry>,
}

/// `find`.
pub(super) async fn find(operations: &Operations, args: FindArgs) -> anyhow::Result<ExitCode> {
    let FindArgs { request_id, member, output } = args;
    let (found, redis, hint) = match (request_id, member) {
        (Some(request_id), _) => {
            let (found, redis) = find_request(operations, request_id).await?;
            (found, redis, "; one that is reserved and not yet decided is found with --member")
        }
        (None, Some(member)) => {
            let (found, redis) = find_member(operations, &member).await?;
            (found, redis, "")
        }
        (None, None) => return Err(Usage("say which: a request id, or --member ID".to_owned()).into()),
    };
    let is_known = !found.rows.is_empty() || !found.holders.is_empty();
    show(output, &found, is_known)?;
    if let Err(error) = redis {
        eprintln!("note: what Redis has of it is not known: {}", chain(&error));
        return Ok(ExitCode::FAILURE);
    }
    if !is_known {
        eprintln!("nothing is known of it{hint}");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn find_request(operations: &Operations, id: Uuid) -> anyhow::Result<(Found, Result<(), StockError>)> {
    let mut timeline = operations.request_timeline(id).await?;
    let place = timeline.as_ref().and_then(RequestTimeline::place);
    let (holders, redis) = operations.stored_holders(place.into_iter().collect()).await;
    let rows = timeline.as_mut().map(|timeline| mem::take(&mut timeline.rows)).unwrap_or_default();
    Ok((Found { timeline, standing: None, rows, holders }, redis))
}

async fn find_member(operations: &Operations, id: &MemberId) -> anyhow::Result<(Found, Result<(), StockError>)> {
    let standing = operations.member_standing(id).await?;
    let live = operations.database.coupons().list().await?.into_iter().filter(Coupon::is_live);
    let places = live.map(|coupon| (coupon.coupon_code, id.clone())).collect();
    let (holders, redis) = operations.stored_holders(places).await;
    let rows = operations.rows_of_member(id).await?;
    Ok((Found { timeline: None, standing: Some(standing), rows, holders }, redis))
}

fn show(output: Output, found: &Found, is_known: bool) -> anyhow::Result<()> {
    match output {
        Output::Json => output::json(found),
        Output::Csv => Err(Usage("found are rows of several kinds: as a table, or as json".to_owned()).into()),
        Output::Table => {
            if let Some(timeline) = &found.timeline {
                output::section("What became of it", &timeline.steps, STEPS)?;
            }
            if let Some(standing) = &found.standing {
                output::section("Requests", &standing.requests, REQUESTS)?;
            }
            output::section("Decisions", &found.rows.decisions, DECISIONS)?;
            output::section("Holder entries in Redis", &found.holders, HOLDERS)?;
            output::section("Entries of the work list", &found.rows.entries, &entries::table(false))?;
            output::section("Dead letters", &found.rows.dead_letters, &dead_letters::table(false))?;
            // Of who is known in no campaign it would be the list of all campaigns.
            if let Some(standing) = found.standing.as_ref().filter(|_| is_known) {
                output::section("Campaigns without a request", &standing.campaigns, WITHOUT)?;
            }
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
