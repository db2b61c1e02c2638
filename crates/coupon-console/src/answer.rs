//! Answers: a page or the same as JSON, the result of a change, or a sentence why not.

use askama::Template;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use coupon_core::{failure::Classified, repo::RepoError, runtime::chain, stock::StockError};
use coupon_operations::{OperationsError, campaigns::CampaignError};
use serde::Serialize;

use crate::{
    Console,
    access::{Caller, Rendering, Role, VERBS, Verb},
};

/// What a page shows: one type, serialised as JSON and filled into a template.
pub(crate) trait View: Serialize {
    /// The heading of the page.
    fn title(&self) -> String;

    /// Returns the page as HTML.
    fn html(&self, frame: &Frame) -> askama::Result<String>;
}

/// What surrounds every page.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Heading of the page.
    pub title: String,
    /// Prefix of every link: `console.base_path`.
    pub base: String,
    /// Name of the installation, empty without one.
    pub installation: String,
    /// Operator.
    pub name: String,
    /// Role of the operator.
    pub role: Role,
    /// Path and query of this page.
    pub view: String,
    /// Whether changes are refused.
    pub is_read_only: bool,
    /// What the change before this page did.
    pub notice: Option<String>,
}

impl Frame {
    pub(crate) fn new(console: &Console, caller: &Caller, title: String) -> Self {
        Self {
            title,
            base: console.base_path().to_owned(),
            installation: console.installation().to_owned(),
            name: caller.name.clone(),
            role: caller.role,
            view: caller.view.clone(),
            is_read_only: console.is_read_only(),
            notice: crate::params::notice(&caller.view),
        }
    }

    /// Whether the operator may do this and changes are not refused: whether a button is shown.
    pub(crate) fn can(&self, role: &Role) -> bool {
        self.role >= *role && !self.is_read_only
    }

    /// Whether the operator may do this: whether something is shown.
    pub(crate) fn may(&self, role: &Role) -> bool {
        self.role >= *role
    }

    /// Whether the operator may see the page of this path: whether the navigation leads there.
    pub(crate) fn may_go(&self, path: &str) -> bool {
        let verb = VERBS.iter().find(|verb| verb.method == "GET" && verb.path == path);
        verb.is_none_or(|verb| self.role >= verb.role)
    }

    /// Whether the page lies under this path: its entry in the navigation is marked.
    pub(crate) fn is_under(&self, path: &str) -> bool {
        let own = self.view.split('?').next().unwrap_or_default();
        own == path || (path != "/" && own.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The list that this page is about a row of, where there is one: the way back from a row that is not there.
    pub(crate) fn list(&self) -> Option<&'static str> {
        let own = self.view.split('?').next().unwrap_or_default();
        let lists = VERBS.iter().filter(|verb| verb.method == "GET" && verb.path != "/" && !verb.path.contains('{'));
        let above = lists.filter(|verb| own.strip_prefix(verb.path).is_some_and(|rest| rest.starts_with('/')));
        above.max_by_key(|verb| verb.path.len()).map(|verb| verb.path)
    }

    /// The path of this page with its query as JSON.
    pub(crate) fn json(&self) -> String {
        let (path, query) = self.view.split_once('?').unwrap_or((&self.view, ""));
        let path = if path == "/" { "/index" } else { path };
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        format!("{}{path}.json{query}", self.base)
    }
}

impl Console {
    /// Answers with a page, or the same as JSON.
    pub(crate) fn show(&self, caller: &Caller, view: &impl View) -> Response {
        match caller.rendering {
            Rendering::Json => Json(view).into_response(),
            Rendering::Html => match view.html(&Frame::new(self, caller, view.title())) {
                Ok(page) => Html(page).into_response(),
                Err(error) => {
                    tracing::error!("a page of the console cannot be rendered: {error}");
                    StatusCode::INTERNAL_SERVER_ERROR.into_response()
                }
            },
        }
    }

    /// Answers a change: a browser is led to `path`, with the sentence `done` on top, if it is one; JSON gets `result`.
    pub(crate) fn done(&self, caller: &Caller, path: &str, done: &str, result: &impl Serialize) -> Response {
        match caller.rendering {
            Rendering::Json => Json(result).into_response(),
            Rendering::Html => {
                let separator = if path.contains('?') { '&' } else { '?' };
                let done = if done.is_empty() { String::new() } else { format!("{separator}done={done}") };
                Redirect::to(&format!("{}{path}{done}", self.base_path())).into_response()
            }
        }
    }
}

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

    /// Returns the answer. Without a console and a caller it is a page of its own.
    pub(crate) fn answer(&self, rendering: Rendering, around: Option<(&Console, &Caller)>) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        match rendering {
            Rendering::Json => {
                let (status, code, detail) = (self.status.as_u16(), self.code, self.detail.as_str());
                let problem = Json(Problem { kind: "about:blank", title, status, code, detail });
                let mut answer = (self.status, problem).into_response();
                let content_type = HeaderValue::from_static("application/problem+json");
                answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
                answer
            }
            Rendering::Html => {
                let (detail, code) = (self.detail.as_str(), self.code);
                let page = match around {
                    Some((console, caller)) => {
                        let frame = Frame::new(console, caller, title.to_owned());
                        FailurePage { frame: &frame, detail, code }.render()
                    }
                    None => BareFailurePage { detail, code }.render(),
                };
                (self.status, Html(page.unwrap_or_else(|_| self.detail.clone()))).into_response()
            }
        }
    }
}

impl Console {
    /// Makes the result of a handler an answer.
    pub(crate) fn answer(&self, caller: &Caller, result: Result<Response, Failure>) -> Response {
        result.unwrap_or_else(|failure| failure.answer(caller.rendering, Some((self, caller))))
    }
}

/// SQLSTATE of a statement that took longer than it may.
const STATEMENT_TIMEOUT: &str = "57014";

fn away(server: &str, error: &(impl std::error::Error + 'static)) -> Failure {
    let detail = format!("{server} does not answer now, nothing was changed for sure: {}; try again", chain(error));
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", detail)
}

impl From<RepoError> for Failure {
    fn from(error: RepoError) -> Self {
        if error.code() == STATEMENT_TIMEOUT {
            let detail = "PostgreSQL needs longer for this than the console waits (console.statement_timeout_ms): ask for \
                less, such as one campaign or the last hours, or use the command line";
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "TOO_MUCH", detail);
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
