//! What is done to one row: settle, replay, note, claim, release. A single row needs no plan; a conflict is an answer.

use axum::{
    extract::{Path, State},
    response::Response,
};
use coupon_core::repo::{
    replay_jobs::JobKind,
    work_list::{Claimed, Filter, List, Settling, Verb},
};
use coupon_operations::{
    jobs::JobRef,
    plans::Change,
    replay::Request,
    terminal::reason,
    work_list::{Settled, absent},
};
use serde::{Deserialize, Serialize};

use super::{gone, id, path};
use crate::{Console, access::Caller, answer::Failure, params::Form, show};

/// Rate of the replay of one row; it has no second one.
const PER_SECOND: f64 = 10.0;
/// Longest note, in characters.
const MAX_NOTE: usize = 4_000;

/// The form that settles a row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct SettleForm {
    /// `resolve`, `ignore` or `reopen`.
    verb: String,
    /// Why.
    #[serde(default)]
    reason: String,
    /// Of the button beside it, which replays.
    #[serde(default, rename = "after_close")]
    _after_close: Option<String>,
}

/// The form that replays a row.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct ReplayForm {
    /// Why.
    #[serde(default)]
    reason: String,
    /// `yes`: also when the campaign is closed or its window is over.
    after_close: Option<String>,
}

/// The form that notes something.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct NoteForm {
    /// The words.
    #[serde(default)]
    note: String,
}

/// The answer to a change of one row.
#[derive(Debug, Serialize)]
struct Changed {
    number: String,
    /// Whether the row was changed; otherwise it was so before.
    changed: bool,
    detail: String,
}

/// Returns the list of the address that was asked for.
fn list_of(caller: &Caller) -> List {
    if caller.view.starts_with("/dead-letters/") { List::DlqEvents } else { List::Requests }
}

/// Settles a row of the list.
pub(in crate::pages) async fn settle_of(
    State(console): State<Console>,
    caller: Caller,
    Path(number): Path<String>,
    Form(form): Form<SettleForm>,
) -> Response {
    let answer = settle(&console, &caller, list_of(&caller), &number, form).await;
    console.answer(&caller, answer)
}

async fn settle(
    console: &Console,
    caller: &Caller,
    list: List,
    number: &str,
    form: Result<SettleForm, Failure>,
) -> Result<Response, Failure> {
    let (id, SettleForm { verb, reason: why, .. }) = (id(console, number, list)?, form?);
    let verb: Verb = verb.parse().map_err(|error| Failure::bad_input(format!("{error}")))?;
    let why = reason(&why).map_err(|wrong| Failure::bad_input(format!("reason: {wrong}")))?;
    let operations = console.operations.in_the_name_of(caller.identity(&why));
    let settling = Settling { list, verb, reason: why };
    let settled = operations.settle_each(&settling, &[id]).await?;
    let settled = settled.into_iter().next().map_or(Settled::Absent(false), |(_, settled)| settled);
    let (number, detail) = (list.number(id), settled.sentence(id, &settling));
    match settled {
        Settled::Done | Settled::Before => {
            let changed = settled == Settled::Done;
            let notice = if changed { "changed" } else { "unchanged" };
            let result = Changed { number: number.to_string(), changed, detail };
            Ok(console.done(caller, &format!("{}/{number}", path(list)), notice, &result))
        }
        Settled::Absent(_) => Err(gone(console, number).await?),
        Settled::Not(_) => Err(Failure::conflict(format!("{}{detail}", since_changed(console, list, id).await?))),
        Settled::Undecided(_) | Settled::Replay | Settled::UnderWay => Err(Failure::conflict(detail)),
    }
}

/// Returns who has changed a row meanwhile, and when.
async fn since_changed(console: &Console, list: List, id: i64) -> Result<String, Failure> {
    let number = list.number(id);
    let found = match list {
        List::Requests => {
            let entry = console.operations.database.failed_coupon_issues().find(id).await?;
            entry.and_then(|row| Some((row.status.to_string(), row.resolved_by?, row.resolved_at?)))
        }
        List::DlqEvents => None,
    };
    Ok(found.map_or_else(String::new, |(status, by, at)| {
        format!("changed meanwhile: {number} is {status} by {by} since {} UTC; ", show::when(&at))
    }))
}

/// Replays one row of the list.
pub(in crate::pages) async fn replay_of(
    State(console): State<Console>,
    caller: Caller,
    Path(number): Path<String>,
    Form(form): Form<ReplayForm>,
) -> Response {
    let answer = replay(&console, &caller, list_of(&caller), &number, form).await;
    console.answer(&caller, answer)
}

async fn replay(
    console: &Console,
    caller: &Caller,
    list: List,
    number: &str,
    form: Result<ReplayForm, Failure>,
) -> Result<Response, Failure> {
    let (id, ReplayForm { reason: why, after_close }) = (id(console, number, list)?, form?);
    let why = reason(&why).map_err(|wrong| Failure::bad_input(format!("reason: {wrong}")))?;
    let (after_close, filter) = (after_close.is_some(), Filter { ids: vec![id], ..Filter::default() });
    let operations = console.operations.in_the_name_of(caller.identity(&why));
    let kind = match list {
        List::Requests => JobKind::Requests,
        List::DlqEvents => JobKind::DlqEvents,
    };
    let request = Request { kind, filter: filter.clone(), after_close, per_second: PER_SECOND, reason: why.clone() };
    let plan = operations.plan_replay(&request).await?;
    if plan.eligible == 0 {
        let Some((refusal, _)) = plan.refused.first_key_value() else {
            return Err(gone(console, list.number(id)).await?);
        };
        let since = since_changed(console, list, id).await?;
        return Err(Failure::conflict(format!("{since}{} cannot be replayed now: {refusal}", list.number(id))));
    }
    let job =
        operations.start(Change::Replay { list, filter, per_second: PER_SECOND, after_close }, &why, None).await?;
    Ok(console.done(caller, &job_path(job), "started", &serde_json::json!({ "job": job })))
}

/// Returns the path of a job's page.
pub(in crate::pages) fn job_path(job: JobRef) -> String {
    match job {
        JobRef::Replay(id) => format!("/replays/{id}"),
        JobRef::Job(id) => format!("/jobs/{id}"),
    }
}

/// Notes something on a row of the list.
pub(in crate::pages) async fn note_on(
    State(console): State<Console>,
    caller: Caller,
    Path(number): Path<String>,
    Form(form): Form<NoteForm>,
) -> Response {
    let answer = note(&console, &caller, list_of(&caller), &number, form).await;
    console.answer(&caller, answer)
}

async fn note(
    console: &Console,
    caller: &Caller,
    list: List,
    number: &str,
    form: Result<NoteForm, Failure>,
) -> Result<Response, Failure> {
    let (number, words) = (list.number(id(console, number, list)?), form?.note);
    let words = words.trim();
    if words.is_empty() || words.chars().count() > MAX_NOTE {
        return Err(Failure::bad_input(format!("note: it has 1 to {MAX_NOTE} characters")));
    }
    if !console.operations.in_the_name_of(caller.identity("")).note(number, words.to_owned()).await? {
        return Err(gone(console, number).await?);
    }
    let result = Changed { number: number.to_string(), changed: true, detail: format!("noted on {number}") };
    Ok(console.done(caller, &format!("{}/{number}", path(list)), "noted", &result))
}

pub(in crate::pages) async fn claim(
    State(console): State<Console>,
    caller: Caller,
    Path(number): Path<String>,
) -> Response {
    let answer = set_claim(&console, &caller, &number, true).await;
    console.answer(&caller, answer)
}

pub(in crate::pages) async fn release(
    State(console): State<Console>,
    caller: Caller,
    Path(number): Path<String>,
) -> Response {
    let answer = set_claim(&console, &caller, &number, false).await;
    console.answer(&caller, answer)
}

async fn set_claim(console: &Console, caller: &Caller, number: &str, is_claim: bool) -> Result<Response, Failure> {
    let id = id(console, number, List::Requests)?;
    let (number, operations) = (List::Requests.number(id), console.operations.in_the_name_of(caller.identity("")));
    let claimed = if is_claim { operations.claim(id).await? } else { operations.release(id).await? };
    let what = if is_claim { "claimed" } else { "released" };
    let changed = claimed == Claimed::Done;
    match claimed {
        Claimed::Done | Claimed::Before => {
            let result = Changed { number: number.to_string(), changed, detail: format!("{number} is {what}") };
            let notice = if changed { "changed" } else { "unchanged" };
            Ok(console.done(caller, &format!("/work/{number}"), notice, &result))
        }
        Claimed::By(name, at) => {
            let since = show::when(&at);
            let detail = format!("{number} is claimed by {name} since {since} UTC: release it first, or ask {name}");
            Err(Failure::conflict(detail))
        }
        Claimed::Absent => Err(Failure::not_found(absent(number, false))),
    }
}
