//! `/members/{id}/erase` and `/members/{id}/export`: personal data, for programs.

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use coupon_core::{ids::MemberId, runtime::chain};
use coupon_operations::members::MemberError;
use serde::Deserialize;

use crate::{
    Console,
    access::Caller,
    answer::Failure,
    params::{Form, reason},
};

/// Longest wait for the consumers to catch up.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(30);
/// Where a browser is led to, which no longer finds the member.
const AFTERWARDS: &str = "/audit?verb=member.erase";

/// The form of an erasure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EraseForm {
    /// Why, without the member's id.
    reason: String,
    /// The member's id once more; without it nothing is changed, and the answer says what would be.
    typed: Option<String>,
}

impl From<MemberError> for Failure {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::Operations(error) => error.into(),
            MemberError::Pseudonym | MemberError::Reason => Self::bad_input(error.to_string()),
            other => Self::conflict(chain(&other).to_string()),
        }
    }
}

/// `POST /members/{id}/erase`.
pub(super) async fn erase(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<EraseForm>,
) -> Response {
    let answer = async {
        let (member, EraseForm { reason: why, typed }) = (member(&id)?, form?);
        let why = reason(&why)?;
        let operations = console.operations.in_the_name_of(caller.identity(&why));
        let Some(typed) = typed else {
            let plan = operations.plan_erasure(&member).await?;
            return Ok::<_, Failure>(console.done(&caller, AFTERWARDS, "unchanged", &plan));
        };
        if typed != member.as_str() {
            return Err(Failure::bad_input("typed: it is not the id of this member; nothing was changed"));
        }
        let erased = operations.erase_member(&member, &why, CATCH_UP_WITHIN).await?;
        let done = if erased.is_nothing() { "unchanged" } else { "changed" };
        Ok(console.done(&caller, AFTERWARDS, done, &erased))
    };
    console.answer(&caller, answer.await)
}

/// `GET /members/{id}/export`.
pub(super) async fn export(State(console): State<Console>, caller: Caller, Path(id): Path<String>) -> Response {
    let answer = async {
        let member = member(&id)?;
        let operations = console.operations.in_the_name_of(caller.identity(""));
        Ok::<_, Failure>(Json(operations.export_member(&member).await?).into_response())
    };
    console.answer(&caller, answer.await)
}

fn member(id: &str) -> Result<MemberId, Failure> {
    id.parse().map_err(|error| Failure::bad_input(format!("{error}")))
}
