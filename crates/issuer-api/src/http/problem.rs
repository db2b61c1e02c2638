//! Errors as `application/problem+json` (RFC 9457) with a stable code.

use std::{borrow::Cow, sync::LazyLock, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use coupon_core::retry::spread;
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::{Code, code::Retry, openapi::ProblemCode, refusal::RETRY_AFTER_OUTAGE};

/// An answer that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    is_invalid_token: bool,
}

/// A problem that a member is told; an extension of the response until the name of the request is in its body.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Of a fault of ours: the `instance` of the answer, unless the request has a name.
    pub(super) fault: Option<Uuid>,
    /// The problem itself.
    pub(super) problem: Problem,
}

impl Told {
    /// Takes what an answer carries. The refusal of a crowd carries nothing: it is made once.
    pub(super) fn take_from(answer: &mut Response) -> Option<Self> {
        let is_of_a_crowd = answer.status() == Code::SoldOut.status();
        let told = answer.extensions_mut().remove();
        told.or_else(|| is_of_a_crowd.then(|| Self { fault: None, problem: Problem::sold_out() }))
    }
}

impl Problem {
    /// A problem with a sentence for the developer of the client.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), retry_after: None, is_invalid_token: false }
    }

    /// Every coupon is held by somebody.
    pub fn sold_out() -> Self {
        Self::new(Code::SoldOut, "every coupon is held by somebody")
    }

    fn members(&self, id: Option<&str>) -> Bytes {
        let (sold_out, members) = &*SOLD_OUT;
        if self == sold_out { members.clone() } else { self.to_json(id) }
    }

    /// The body, with the id of this occurrence: a UUID, or the name of the request.
    pub(super) fn to_json(&self, id: Option<&str>) -> Bytes {
        let members = Members {
            r#type: self.code.page(),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            retryable: self.code.retry() == Retry::Wait,
            instance: id.map(|id| {
                // The other forms of a UUID would not be found in the log by the URN.
                let is_uuid = id.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(id).is_ok();
                if is_uuid { format!("urn:uuid:{id}") } else { format!("x-request-id:{id}") }
            }),
        };
        let mut bytes = Vec::with_capacity(TYPICAL_BODY_BYTES);
        serde_json::to_writer(&mut bytes, &members).expect("a struct of texts and a number always serialises");
        bytes.into()
    }

    /// Returns the stable code of the problem.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence for the developer of the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Says when asking again makes sense, where the code has a `Retry-After` and more is known than that it should be soon.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds a `Retry-After` of `least` or more, at random: up to twice as long, and up to 2 s longer at least, so that members
    /// who were sent away together do not return together.
    #[must_use]
    pub fn after_about(self, least: Duration) -> Self {
        self.after(spread(least, least.max(MIN_RETRY_SPREAD)))
    }

    /// Adds to `WWW-Authenticate` that a token was sent and is not valid.
    #[must_use]
    pub fn invalid_token(mut self) -> Self {
        self.is_invalid_token = true;
        self
    }
}

/// Least spread of the times at which members are told to ask again.
const MIN_RETRY_SPREAD: Duration = Duration::from_secs(2);
/// About the size of a body, in bytes.
const TYPICAL_BODY_BYTES: usize = 256;

/// The problem that a crowd is told, serialised once.
static SOLD_OUT: LazyLock<(Problem, Bytes)> = LazyLock::new(|| {
    let problem = Problem::sold_out();
    let members = problem.to_json(None);
    (problem, members)
});

/// Why a request has not the answer that was asked for (RFC 9457). Members may be added.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Members<'a> {
    /// Page that says what the code means, whether to ask again, and what to tell the member; relative to this API.
    /// `about:blank` of a request that could not be read as one.
    #[schemars(extend("format" = "uri-reference"))]
    r#type: &'static str,
    /// The problem in a few words, the same for each problem of the code.
    title: &'a str,
    /// The HTTP status of the answer.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    // Described by its type.
    #[schemars(with = "ProblemCode")]
    code: &'static str,
    /// A sentence for the developer of the client; not a text to be read by a program.
    detail: &'a str,
    /// Whether the same request may be answered otherwise later. Then the answer carries Retry-After.
    retryable: bool,
    /// The X-Request-Id of the answer, as `urn:uuid:…` or else as `x-request-id:…`; missing where the answer has none. Of a
    /// fault of ours (5xx) it is always there, and stands in the log together with the code: quote it to whoever reads that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "uri"))]
    instance: Option<String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let wait = (self.code.retry() == Retry::Wait)
            .then(|| self.retry_after.unwrap_or_else(|| spread(RETRY_AFTER_OUTAGE, MIN_RETRY_SPREAD)));
        let fault = status.is_server_error().then(Uuid::now_v7);
        let mut response = Response::new(Body::from(self.members(fault.map(|id| id.to_string()).as_deref())));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = if self.is_invalid_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if self != SOLD_OUT.0 {
            response.extensions_mut().insert(Told { fault, problem: self });
        }
        response
    }
}

/// Value of `Cache-Control`: an answer is for one member, and true for a moment.
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Rounded up, at least 1: a client must not come back too early.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds_and_at_least_one() {
        for (ms, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_400, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(ms)), seconds, "{ms} ms");
        }
    }

    #[tokio::test]
    async fn a_problem_has_its_media_type_its_code_and_its_headers() {
        let response = Problem::new(Code::NotOpen, "why").after(Duration::from_millis(1500)).into_response();
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        let response = Problem::new(Code::Unauthenticated, "why").into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header(CONTENT_TYPE), "application/problem+json");
        assert_eq!((header(WWW_AUTHENTICATE), response.headers().get(RETRY_AFTER)), ("Bearer", None));
        assert_eq!(header(CACHE_CONTROL), "no-store");
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        let expected = r#"{"type":"/problems/UNAUTHENTICATED","title":"No valid token","status":401,"code":"UNAUTHENTICATED","detail":"why","retryable":false}"#;
        assert_eq!(body, expected);
        let response = Problem::new(Code::Unauthenticated, "why").invalid_token().into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"");
    }

    #[tokio::test]
    async fn what_may_be_asked_again_says_so_and_when_and_nothing_else_does() {
        for code in Code::ALL {
            let response = Problem::new(*code, "why").into_response();
            let wait = response.headers().get(RETRY_AFTER).map(|wait| wait.to_str().unwrap().parse::<u64>().unwrap());
            let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
            let told = serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            assert_eq!(told["retryable"].as_bool(), Some(wait.is_some()), "{told}");
            assert!(wait.is_none_or(|wait| (1..=3).contains(&wait)), "{wait:?} {told}");
        }
    }

    #[tokio::test]
    async fn a_fault_of_ours_carries_an_id_and_every_other_problem_none_of_its_own() {
        for code in Code::ALL {
            let mut response = Problem::new(*code, "why").into_response();
            let told = Told::take_from(&mut response).unwrap();
            assert_eq!(told.problem, Problem { retry_after: None, ..Problem::new(*code, "why") });
            let logged = told.fault.map(|id| id.urn().to_string());
            let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
            let told = serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            assert_eq!(told["instance"].as_str(), logged.as_deref(), "{told}");
            assert_eq!(logged.is_some(), code.status().is_server_error(), "{told}");
        }
    }

    #[test]
    fn the_refusal_of_a_crowd_is_known_again_without_anything_that_it_carries() {
        let mut response = Problem::sold_out().into_response();
        assert!(response.extensions().get::<Told>().is_none());
        assert_eq!(Told::take_from(&mut response).map(|told| told.problem), Some(Problem::sold_out()));
        assert!(Told::take_from(&mut Response::new(Body::empty())).is_none(), "no problem");
    }

    #[test]
    fn members_who_are_sent_away_together_are_not_told_to_return_together() {
        for (least, most) in [(1, 3), (30, 60)] {
            let told = |_| Problem::new(Code::GateClosed, "").after_about(Duration::from_secs(least)).retry_after;
            let seconds: std::collections::BTreeSet<u64> = (0..200).filter_map(told).map(whole_seconds).collect();
            assert!(seconds.len() > 1 && seconds.iter().all(|told| (least..=most).contains(told)), "{seconds:?}");
        }
    }
}
