//! Answers: a page or the same as JSON, the result of a change, or a sentence why not.

use axum::{
    Json,
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
};
use serde::Serialize;

use crate::{
    Console,
    access::{Caller, Rendering, Role, VERBS},
};

mod failure;

pub(crate) use failure::Failure;

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

impl Console {
    /// Makes the result of a handler an answer.
    pub(crate) fn answer(&self, caller: &Caller, result: Result<Response, Failure>) -> Response {
        result.unwrap_or_else(|failure| failure.answer(caller.rendering, self, Some(caller)))
    }
}
