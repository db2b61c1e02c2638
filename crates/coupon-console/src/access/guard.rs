//! The guard: who asks, whether the verb's role allows it, whether our own page asked, and what every answer carries.

use std::net::{IpAddr, SocketAddr};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use coupon_core::repo::audit::{Identity, Login};

use super::{Asserted, Caller, Denial, Rendering, Role, Verb, login, origin};
use crate::{Console, answer::Failure};

/// What a page may load and do: its own style sheet and its own module, nothing else.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What stands before a route: the console, and the verb of the route; `None` before what is no route.
#[derive(Clone)]
pub(crate) struct Gate {
    pub console: Console,
    pub verb: Option<&'static Verb>,
}

/// Gives every answer the security headers.
pub(crate) async fn secure(request: Request, next: Next) -> Response {
    let is_kept = *request.method() == Method::GET && request.uri().path().starts_with("/assets/");
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if !is_kept {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    answer
}

/// Lets a request through to its handler, with its [`Caller`], or answers it.
pub(crate) async fn guard(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    match admit(&gate, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => *refusal,
    }
}

/// Lets a login through that one of our own pages sent: nobody is to be logged in as somebody else by a foreign page.
pub(crate) async fn guard_login(State(console): State<Console>, request: Request, next: Next) -> Response {
    if is_change(&request) && !origin::is_own(request.headers()) {
        let source = source(&console, &request);
        let by = Identity::nobody(Some(told(source)));
        let denial = Denial { by, source, reason: "CROSS_SITE", verb: "login", path: "/login" };
        console.deny(denial, request.headers()).await;
        return Failure::foreign().answer(rendering(&request), &console, None);
    }
    next.run(request).await
}

fn is_change(request: &Request) -> bool {
    !matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Finds out who asks and whether they may.
async fn admit(Gate { console, verb }: &Gate, request: &mut Request) -> Result<(), Box<Response>> {
    let (is_change, rendering, view) = (is_change(request), rendering(request), view(request.uri()));
    let source = source(console, request);
    let (mut caller, is_ambient) = match authenticate(console, request.headers(), source).await {
        Ok(Some(found)) => found,
        Ok(None) if rendering == Rendering::Html && !is_change => {
            let login = format!("{}/login?next={}", console.base_path(), urlencode(&view));
            return Err(Box::new(Redirect::to(&login).into_response()));
        }
        Ok(None) => return Err(Box::new(Failure::unauthenticated().answer(rendering, console, None))),
        Err(failure) => return Err(Box::new(failure.answer(rendering, console, None))),
    };
    (caller.source, caller.rendering, caller.view) = (told(source), rendering, view);
    let refuse = |failure: Failure, caller: &Caller| Box::new(failure.answer(rendering, console, Some(caller)));
    let may_be_foreign = is_ambient || origin::is_told(request.headers());
    if is_change && may_be_foreign && !origin::is_own(request.headers()) {
        let (by, verb) = (caller.identity(""), verb.map_or("none", |verb| verb.name));
        let denial = Denial { by, source, reason: "CROSS_SITE", verb, path: request.uri().path() };
        console.deny(denial, request.headers()).await;
        return Err(refuse(Failure::foreign(), &caller));
    }
    if let Some(verb) = verb {
        if !caller.may(verb.role) {
            console.deny_role(&caller, verb, request.uri().path()).await;
            return Err(refuse(Failure::forbidden(verb, &caller), &caller));
        }
        if is_change && console.is_read_only() && verb.name != "logout" {
            return Err(refuse(Failure::read_only(), &caller));
        }
    }
    request.extensions_mut().insert(caller);
    Ok(())
}

/// Returns who the credentials of a request belong to, and whether a browser sends these by itself, as it does cookies and what
/// a proxy adds; `None` without valid ones.
async fn authenticate(
    console: &Console,
    headers: &HeaderMap,
    source: Option<IpAddr>,
) -> Result<Option<(Caller, bool)>, Failure> {
    let operators = console.operations.database.operators();
    let now = console.operations.clock.now();
    let own_header = console.settings.assertion.in_own_header(headers);
    let bearer = login::bearer(headers);
    if let Some(token) = own_header.or(bearer)
        && let Some(Asserted { name, role }) = console.asserted(token).await
    {
        let Some(role) = role else {
            let failure = Failure::without_role(&name, &console.settings.assertion.role_claim);
            let by = Identity { name, login: Login::Assertion, ..Identity::nobody(Some(told(source))) };
            console.deny(Denial { by, source, reason: "ROLE", verb: "login", path: "/login" }, headers).await;
            return Err(failure);
        };
        return Ok(Some((caller(name, role, Login::Assertion, None), own_header.is_some())));
    }
    if !console.takes_tokens() {
        return Ok(None);
    }
    let (row, session) = if let Some(token) = bearer {
        (operators.of_token(login::digest(token), now).await?, None)
    } else if let Some(cookie) = login::session_cookie(headers) {
        let hash = login::digest(cookie);
        (operators.of_session(hash, now).await?, Some(hash))
    } else {
        return Ok(None);
    };
    let Some(row) = row else { return Ok(None) };
    let Ok(role) = row.role.parse::<Role>() else { return Ok(None) };
    Ok(Some((caller(row.name, role, Login::Token, session), session.is_some())))
}

fn caller(name: String, role: Role, login: Login, session: Option<[u8; 32]>) -> Caller {
    Caller { name, role, login, source: String::new(), session, rendering: Rendering::Json, view: String::new() }
}

/// Returns the form of the answer: JSON where the path ended in `.json`, or only JSON is accepted or sent.
pub(crate) fn rendering(request: &Request) -> Rendering {
    if request.extensions().get::<crate::suffix::JsonSuffix>().is_some() {
        return Rendering::Json;
    }
    let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (accept, sent) = (text(header::ACCEPT), text(header::CONTENT_TYPE));
    let wants_json = accept.contains("json") && !accept.contains("text/html");
    if wants_json || sent.starts_with("application/json") { Rendering::Json } else { Rendering::Html }
}

/// Returns the address from which a request comes.
fn source(console: &Console, request: &Request<Body>) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(console.proxies.source(peer.ip(), request.headers()))
}

fn told(source: Option<IpAddr>) -> String {
    source.map_or_else(|| "unknown".to_owned(), |source| source.to_string())
}

/// Returns path and query, with one slash at their beginning: the link `//x` would lead to the host `x`.
fn view(uri: &Uri) -> String {
    let view = uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string);
    format!("/{}", view.trim_start_matches('/'))
}

/// Returns a text as a value of a query.
pub(crate) fn urlencode(text: &str) -> String {
    serde_urlencoded::to_string([("", text)]).unwrap_or_default().trim_start_matches('=').to_owned()
}

#[cfg(test)]
mod tests {
    use super::urlencode;

    #[test]
    fn what_a_query_holds_is_encoded() {
        assert_eq!(urlencode("/work?status=PENDING&x=ü"), "%2Fwork%3Fstatus%3DPENDING%26x%3D%C3%BC");
    }
}
