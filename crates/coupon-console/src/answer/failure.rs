//! Why there is no answer: what servers, operations and the console itself refuse, as a status, a code and a sentence.

use askama::Template;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use coupon_core::{failure::Classified, repo::RepoError, runtime::chain, stock::StockError};
use coupon_operations::{OperationsError, campaigns::CampaignError};
use serde::Serialize;

use super::Frame;
use crate::{
    Console,
    access::{Caller, Rendering, Verb},
};

/// Why there is no answer: a sentence for the operator, with a code for programs.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    code: &'static str,
    detail: &'a str,
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    frame: &'a Frame,
    detail: &'a str,
    code: &'a str,
}

#[derive(Template)]
#[template(path = "failure_bare.html")]
struct BareFailurePage<'a> {
    base: &'a str,
    detail: &'a str,
    code: &'a str,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into() }
    }

    /// The sentence for the operator.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// The request asks for something that does not make sense.
    pub(crate) fn bad_input(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_INPUT", detail)
    }

    /// There is nothing at this address.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", detail)
    }

    /// What was seen is not so any more.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "CONFLICT", detail)
    }

    pub(crate) fn unauthenticated() -> Self {
        let detail = "log in first: with `Authorization: Bearer TOKEN`, or in a browser at /login";
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", detail)
    }

    pub(crate) fn without_role(name: &str, claim: &str) -> Self {
        let detail = format!("no value of the claim {claim} gives {name} a role here: ask an admin for one");
        Self::new(StatusCode::FORBIDDEN, "NO_ROLE", detail)
    }

    pub(crate) fn foreign() -> Self {
        let detail = "the request was not sent by a page of this console: send it from there, or with `Authorization: Bearer TOKEN`";
        Self::new(StatusCode::FORBIDDEN, "CROSS_SITE", detail)
    }

    pub(crate) fn forbidden(verb: &Verb, caller: &Caller) -> Self {
        let detail = format!(
            "{} needs the role {}, and {} has the role {}: ask an admin for it",
            verb.name, verb.role, caller.name, caller.role
        );
        Self::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail)
    }

    pub(crate) fn read_only() -> Self {
        let detail = "this console changes nothing (console.read_only): use another one, or the command line";
        Self::new(StatusCode::FORBIDDEN, "READ_ONLY", detail)
    }

    /// Returns the answer. Without a caller it is a page of its own.
    pub(crate) fn answer(&self, rendering: Rendering, console: &Console, caller: Option<&Caller>) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let (status, code, detail) = (self.status.as_u16(), self.code, self.detail.as_str());
        match rendering {
            Rendering::Json => {
                let problem = Json(Problem { kind: "about:blank", title, status, code, detail });
                let content_type = HeaderValue::from_static("application/problem+json");
                (self.status, [(header::CONTENT_TYPE, content_type)], problem).into_response()
            }
            Rendering::Html => {
                let page = match caller {
                    Some(caller) => {
                        let frame = Frame::new(console, caller, title.to_owned());
                        FailurePage { frame: &frame, detail, code }.render()
                    }
                    None => BareFailurePage { base: console.base_path(), detail, code }.render(),
                };
                (self.status, Html(page.unwrap_or_else(|_| self.detail.clone()))).into_response()
            }
        }
    }
}

/// SQLSTATE of a statement that took longer than it may.
const STATEMENT_TIMEOUT: &str = "57014";

/// Class of the SQLSTATEs of a value that PostgreSQL cannot hold, such as a text with a NUL.
const DATA_EXCEPTION: &str = "22";

fn away(server: &str, error: &(impl std::error::Error + 'static)) -> Failure {
    let detail = format!("{server} does not answer now, so a change may be made or not: {}; try again", chain(error));
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail)
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        if error.code() == STATEMENT_TIMEOUT {
            let detail = "PostgreSQL needs longer for this than the console waits (console.statement_timeout_ms): ask for \
                less, such as one campaign or the last hours, or use the command line";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "TOO_MUCH", detail);
        }
        if error.code().starts_with(DATA_EXCEPTION) {
            return Self::bad_input(format!("PostgreSQL cannot hold one of these values: {}", chain(&error)));
        }
        away("PostgreSQL", &error)
    }
}

impl From<StockError> for Failure {
    fn from(error: StockError) -> Self {
        away("Redis", &error)
    }
}

impl From<OperationsError> for Failure {
    fn from(error: OperationsError) -> Self {
        match error {
            OperationsError::Repo(error) => error.into(),
            OperationsError::Stock(error) => error.into(),
            OperationsError::Kafka(error) => away("Kafka", &error),
            OperationsError::Unknown(code) => Self::not_found(format!("there is no campaign {code}")),
            OperationsError::UnknownJob(id) => Self::not_found(format!("there is no job {id}")),
            OperationsError::UnknownReplay(id) => Self::not_found(format!("there is no replay {id}")),
            other => Self::conflict(chain(&other).to_string()),
        }
    }
}

impl From<CampaignError> for Failure {
    fn from(error: CampaignError) -> Self {
        match error {
            CampaignError::Unknown(code) => Self::not_found(format!("there is no campaign {code}")),
            CampaignError::Repo(error) => error.into(),
            CampaignError::Stock(error) => error.into(),
            other => Self::conflict(chain(&other).to_string()),
        }
    }
}
