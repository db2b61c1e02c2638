//! `/login`: exchanges a token for a session. `/logout` ends the session.

use std::net::{IpAddr, SocketAddr};

use askama::Template;
use axum::{
    extract::{ConnectInfo, RawQuery, Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use chrono::TimeDelta;
use coupon_core::{
    repo::{
        RepoError,
        audit::{Actor, Identity, Login},
        operators::NewSession,
    },
    runtime::chain,
};
use serde::Deserialize;

use crate::{
    Console,
    access::{COOKIE, Caller, Denial, digest, new_secret},
    answer::Failure,
    params,
};

/// How long a session lasts, in hours.
const SESSION_HOURS: i64 = 8;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    base: &'a str,
    installation: &'a str,
    next: &'a str,
    /// The code of a login link; empty: the token is asked for.
    code: &'a str,
    wrong: Option<&'a str>,
    /// Whether tokens and links log in here.
    takes_tokens: bool,
}

/// What leads to the page: where to go on afterwards, and the code of a login link.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
    #[serde(default)]
    code: String,
}

/// The form: a token, or the code of a login link.
#[derive(Deserialize)]
pub(super) struct Credentials {
    #[serde(default)]
    token: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn show(State(console): State<Console>, RawQuery(query): RawQuery) -> Response {
    let asked: Asked = params::query(query.as_deref()).unwrap_or_default();
    // A link does nothing by itself: programs that look at links in a chat would use it up, and a page elsewhere could log
    // its visitors in as somebody else. Its button does.
    LoginPage { next: &asked.next, code: &asked.code, ..LoginPage::of(&console) }.answer(StatusCode::OK)
}

pub(super) async fn log_in(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let refused = |status: StatusCode, next: &str, wrong: &str| {
        LoginPage { next, wrong: Some(wrong), ..LoginPage::of(&console) }.answer(status)
    };
    let headers = request.headers().clone();
    let source = console.proxies.source(peer.ip(), &headers);
    let deny = |reason| {
        let by = Identity::nobody(Some(source.to_string()));
        console.deny(Denial { by, source: Some(source), reason, verb: "login", path: "/login" }, &headers)
    };
    // Before the body is read, so that nobody without a token has many of them parsed.
    if !console.logins.admit(Some(source)) {
        deny("ATTEMPTS").await;
        let wrong = "There were too many attempts. Try again in a minute.";
        return refused(StatusCode::TOO_MANY_REQUESTS, "", wrong);
    }
    let Ok(credentials) = params::body::<Credentials>(request).await else {
        return refused(StatusCode::BAD_REQUEST, "", "Enter the token.");
    };
    let next = credentials.next.as_str();
    match begin(&console, &credentials, source).await {
        Ok(Some(cookie)) => {
            let mut answer = Redirect::to(&format!("{}{}", console.base_path(), local(next))).into_response();
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
            answer
        }
        Ok(None) => {
            deny("TOKEN").await;
            tracing::warn!("a login to the console from {source} was refused: no valid token or link");
            let wrong = if credentials.code.is_empty() {
                "This token is not valid, has expired, or was revoked."
            } else {
                "This link was used before, or is older than ten minutes. Ask for another one, or enter the token."
            };
            refused(StatusCode::UNAUTHORIZED, next, wrong)
        }
        Err(error) => {
            tracing::warn!("an operator could not log in: {}", chain(&error));
            refused(StatusCode::SERVICE_UNAVAILABLE, next, "PostgreSQL does not answer now. Try again.")
        }
    }
}

/// Begins a session and returns its cookie; `None` when the credentials are worth nothing.
async fn begin(console: &Console, credentials: &Credentials, source: IpAddr) -> Result<Option<HeaderValue>, RepoError> {
    if !console.takes_tokens() {
        return Ok(None);
    }
    let (operators, now) = (console.operations.database.operators(), console.operations.clock.now());
    let operator = if credentials.code.is_empty() {
        operators.of_token(digest(credentials.token.trim()), now).await?
    } else {
        operators.take_login_code(digest(&credentials.code), now).await?
    };
    let Some(operator) = operator else { return Ok(None) };
    let (cookie, source) = (new_secret(), source.to_string());
    let identity = Identity {
        name: operator.name.clone(),
        login: Login::Token,
        role: Some(operator.role),
        source: Some(source.clone()),
        plan_id: None,
        reason: String::new(),
    };
    let expires_at = operator.expires_at.min(now + TimeDelta::hours(SESSION_HOURS));
    let session = NewSession { session_hash: digest(&cookie), operator: operator.name, source, expires_at };
    operators.begin_session(session, Actor { by: identity, now }).await?;
    let lasts = (expires_at - now).num_seconds();
    let cookie = format!("{COOKIE}={cookie}; Path=/; Max-Age={lasts}; Secure; HttpOnly; SameSite=Strict");
    Ok(HeaderValue::from_str(&cookie).ok())
}

pub(super) async fn log_out(State(console): State<Console>, caller: Caller) -> Response {
    if let Some(session) = caller.session {
        let ended = console.operations.database.operators().end_session(session, console.operations.clock.now()).await;
        if let Err(error) = ended {
            return Failure::from(error).answer(caller.rendering, &console, Some(&caller));
        }
    }
    let mut answer = Redirect::to(&format!("{}/login", console.base_path())).into_response();
    let gone = format!("{COOKIE}=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Strict");
    if let Ok(gone) = HeaderValue::from_str(&gone) {
        answer.headers_mut().insert(header::SET_COOKIE, gone);
    }
    answer
}

impl<'a> LoginPage<'a> {
    /// Returns the page that asks for a token.
    fn of(console: &'a Console) -> Self {
        Self {
            base: console.base_path(),
            installation: console.installation(),
            next: "",
            code: "",
            wrong: None,
            takes_tokens: console.takes_tokens(),
        }
    }

    fn answer(&self, status: StatusCode) -> Response {
        match self.render() {
            Ok(page) => (status, Html(page)).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

/// Returns the path to go on to: one of this console, never another site's.
fn local(next: &str) -> &str {
    // Browsers drop a tab from an address and read \ as /, so `/<tab>/evil` is the address of another site.
    let misleads = |character: char| character == '\\' || character.is_control();
    let is_local = next.starts_with('/') && !next.starts_with("//") && !next.contains(misleads);
    if is_local && !next.starts_with("/login") { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::local;

    #[test]
    fn a_login_leads_nowhere_else() {
        assert_eq!(local("/work?status=PENDING"), "/work?status=PENDING");
        for foreign in ["", "https://evil", "//evil", "/\\evil", "work", "/login", "/\r\nx: y", "/\t/evil"] {
            assert_eq!(local(foreign), "/", "{foreign}");
        }
    }
}
