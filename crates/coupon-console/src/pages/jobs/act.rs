//! Pause, resume, cancel, rate: from anywhere, whatever process works on it.

use axum::{
    extract::{Path, State},
    response::Response,
};
use coupon_operations::{Operations, OperationsError};
use serde::Deserialize;

use super::number;
use crate::{
    Console,
    access::Caller,
    answer::Failure,
    pages::plans::{checked_rate, rate},
    params::Form,
};

/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 2_000;

/// The form of a change of a job.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::pages) struct JobForm {
    /// Why; it may be left out.
    reason: String,
    /// Most rows begun in a second; for a new rate only.
    #[serde(deserialize_with = "rate")]
    per_second: Option<f64>,
}

/// Does something to the job of an address, in the operator's name.
async fn act<F: Future<Output = Result<(), Failure>>>(
    console: Console,
    caller: Caller,
    (id, what): (String, &'static str),
    form: Result<JobForm, Failure>,
    change: impl FnOnce(Operations, i64, JobForm) -> F,
) -> Response {
    let changed = async {
        let (id, form) = (number(&id, what)?, form?);
        if form.reason.len() > MAX_REASON_BYTES {
            return Err(Failure::bad_input(format!("reason: at most {MAX_REASON_BYTES} bytes are kept")));
        }
        let operations = console.operations.in_the_name_of(caller.identity(form.reason.trim()));
        change(operations, id, form).await?;
        Ok(console.done(&caller, &format!("/{what}s/{id}"), "changed", &serde_json::json!({ what: id })))
    };
    let changed = changed.await;
    console.answer(&caller, changed)
}

pub(in crate::pages) async fn pause_replay(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<JobForm>,
) -> Response {
    let pause =
        |operations: Operations, id, form: JobForm| async move { Ok(operations.pause_replay(id, form.reason).await?) };
    act(console, caller, (id, "replay"), form, pause).await
}

pub(in crate::pages) async fn resume_replay(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<JobForm>,
) -> Response {
    let resume =
        |operations: Operations, id, form: JobForm| async move { Ok(operations.resume_replay(id, form.reason).await?) };
    act(console, caller, (id, "replay"), form, resume).await
}

pub(in crate::pages) async fn cancel_replay(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<JobForm>,
) -> Response {
    let cancel =
        |operations: Operations, id, form: JobForm| async move { Ok(operations.cancel_replay(id, form.reason).await?) };
    act(console, caller, (id, "replay"), form, cancel).await
}

pub(in crate::pages) async fn rate_replay(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<JobForm>,
) -> Response {
    let set = |operations: Operations, id, form: JobForm| async move {
        let per_second = form.per_second.ok_or_else(|| Failure::bad_input("per_second: say the new rate"))?;
        Ok(operations.set_replay_rate(id, checked_rate(per_second)?).await?)
    };
    act(console, caller, (id, "replay"), form, set).await
}

pub(in crate::pages) async fn cancel_job(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<JobForm>,
) -> Response {
    let cancel = |operations: Operations, id, form: JobForm| async move {
        operations.cancel_service_job(id, &form.reason).await.map_err(|error| match error {
            OperationsError::UnknownJob(id) => Failure::not_found(format!("there is no job {id}")),
            other => other.into(),
        })
    };
    act(console, caller, (id, "job"), form, cancel).await
}
