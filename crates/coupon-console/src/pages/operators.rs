//! `/operators`: who has a token, a new one, and its end. A token is shown once, on the answer to its making.

use askama::Template;
use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::repo::operators::OperatorRow;
use coupon_operations::operators::OperatorError;
use serde::{Deserialize, Serialize};

use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
    params::{Form, reason},
};

/// The page.
#[derive(Debug, Serialize)]
struct Operators {
    now: DateTime<Utc>,
    /// All operators by name, the revoked ones too.
    operators: Vec<OperatorRow>,
}

/// The answer to the making of a token.
#[derive(Debug, Serialize)]
struct Added {
    name: String,
    role: Role,
    expires_at: DateTime<Utc>,
    /// The token, which is kept nowhere.
    token: String,
}

/// The form for a new operator.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct New {
    /// Name, never used before: 1 to 100 of `A-Za-z0-9._@-`.
    name: String,
    /// Role.
    role: Role,
    /// How long the token works, in days, at most 366.
    days: u16,
    /// Why.
    reason: String,
}

/// The form for the end of a token.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revoke {
    /// Why.
    reason: String,
}

#[derive(Template)]
#[template(path = "operators.html")]
struct OperatorsPage<'a> {
    frame: &'a Frame,
    page: &'a Operators,
}

#[derive(Template)]
#[template(path = "operator_added.html")]
struct AddedPage<'a> {
    frame: &'a Frame,
    added: &'a Added,
}

impl View for Operators {
    fn title(&self) -> String {
        "Operators".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        OperatorsPage { frame, page: self }.render()
    }
}

impl View for Added {
    fn title(&self) -> String {
        format!("The token of {}", self.name)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        AddedPage { frame, added: self }.render()
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        match error {
            OperatorError::Repo(error) => error.into(),
            OperatorError::Taken(_) => Self::conflict(error.to_string()),
            OperatorError::Unknown(_) => Self::not_found(error.to_string()),
            OperatorError::Name(_) | OperatorError::Expiry(_) => Self::bad_input(error.to_string()),
        }
    }
}

pub(super) async fn list(State(console): State<Console>, caller: Caller) -> Response {
    let now = console.operations.clock.now();
    let operators = console.operations.operators().await;
    let answer = operators.map(|operators| console.show(&caller, &Operators { now, operators }));
    console.answer(&caller, answer.map_err(Failure::from))
}

pub(super) async fn add(State(console): State<Console>, caller: Caller, Form(form): Form<New>) -> Response {
    let answer = async {
        let New { name, role, days, reason: why } = form?;
        let operations = console.operations.in_the_name_of(caller.identity(&reason(&why)?));
        let expires_at = operations.clock.now() + TimeDelta::days(days.into());
        let token = operations.add_operator(&name, role.as_str(), expires_at).await?;
        let mut answer = console.show(&caller, &Added { name, role, expires_at, token });
        *answer.status_mut() = StatusCode::CREATED;
        Ok::<_, Failure>(answer)
    };
    console.answer(&caller, answer.await)
}

pub(super) async fn revoke(
    State(console): State<Console>,
    caller: Caller,
    Path(name): Path<String>,
    Form(form): Form<Revoke>,
) -> Response {
    let answer = async {
        let operations = console.operations.in_the_name_of(caller.identity(&reason(&form?.reason)?));
        operations.revoke_operator(&name).await?;
        let revoked = serde_json::json!({ "name": name, "revoked": true });
        Ok::<_, Failure>(console.done(&caller, "/operators", "revoked", &revoked))
    };
    console.answer(&caller, answer.await)
}
