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
use serde::Serialize;
use uuid::Uuid;

/// An answer that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    is_invalid_token: bool,
}

/// A fault of ours that a member has been told of; rides on the answer to where it is logged.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// What the member may quote.
    pub(super) id: Uuid,
    /// What the member was told.
    pub(super) problem: Problem,
}

/// Declares the codes with their status.
macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $word:literal, $status:ident;)+) => {
        /// What went wrong, by a word that never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[$meta])* $variant,)+ }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// The status it comes with.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }
        }
    };
}

codes! {
    /// No HTTP request. Answered before it comes to a handler; see [`coupon_core::runtime::http::UNREADABLE`].
    BadRequest = "BAD_REQUEST", BAD_REQUEST;
    /// The path is too long to be read.
    UriTooLong = "URI_TOO_LONG", URI_TOO_LONG;
    /// The head is too large to be read.
    HeadersTooLarge = "HEADERS_TOO_LARGE", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// No token, or none that counts.
    Unauthenticated = "UNAUTHENTICATED", UNAUTHORIZED;
    /// No such route.
    NotFound = "NOT_FOUND", NOT_FOUND;
    /// The route has no such method.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED;
    /// The path names no possible coupon.
    InvalidCouponCode = "INVALID_COUPON_CODE", UNPROCESSABLE_ENTITY;
    /// The body is neither empty nor `{}`.
    InvalidBody = "INVALID_BODY", UNPROCESSABLE_ENTITY;
    /// The query has an unknown name or a value that is out of its range.
    InvalidQuery = "INVALID_QUERY", UNPROCESSABLE_ENTITY;
    /// The body is too large.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", PAYLOAD_TOO_LARGE;
    /// The body came too slowly.
    RequestTimeout = "REQUEST_TIMEOUT", REQUEST_TIMEOUT;
    /// Too much is being worked on.
    TooManyRequests = "TOO_MANY_REQUESTS", TOO_MANY_REQUESTS;
    /// No such campaign.
    CouponNotFound = "COUPON_NOT_FOUND", NOT_FOUND;
    /// No such request of this member.
    RequestNotFound = "REQUEST_NOT_FOUND", NOT_FOUND;
    /// The member holds no coupon of this campaign.
    NothingHeld = "NOTHING_HELD", NOT_FOUND;
    /// Every coupon is held by somebody.
    SoldOut = "SOLD_OUT", CONFLICT;
    /// The campaign has not begun.
    NotOpen = "NOT_OPEN", CONFLICT;
    /// The campaign is over.
    Closed = "CLOSED", CONFLICT;
    /// The campaign is being prepared or repaired.
    GateClosed = "GATE_CLOSED", SERVICE_UNAVAILABLE;
    /// Too many reservations wait for Kafka.
    OutboxFull = "OUTBOX_FULL", SERVICE_UNAVAILABLE;
    /// Redis gives no answer.
    StockUnavailable = "STOCK_UNAVAILABLE", SERVICE_UNAVAILABLE;
    /// PostgreSQL gives no answer, and it was needed.
    DatabaseUnavailable = "DATABASE_UNAVAILABLE", SERVICE_UNAVAILABLE;
    /// The process has just started.
    Starting = "STARTING", SERVICE_UNAVAILABLE;
    /// A fault of ours.
    Internal = "INTERNAL", INTERNAL_SERVER_ERROR;
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

    fn members(&self, id: Option<Uuid>) -> Bytes {
        let (sold_out, members) = &*SOLD_OUT;
        if self == sold_out { members.clone() } else { self.to_json(id) }
    }

    fn to_json(&self, id: Option<Uuid>) -> Bytes {
        let status = self.code.status();
        let members = Members {
            r#type: "about:blank",
            // RFC 9457, section 4.2.1: with about:blank the title is the phrase of the status.
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
            instance: id.map(|id| id.urn().to_string()),
        };
        let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
        serde_json::to_writer(&mut bytes, &members).expect("a struct of texts and a number always serialises");
        bytes.into()
    }

    /// The word by which it is known.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When to ask again, precisely: a moment that is known.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// When to ask again at the earliest, and about: up to twice as late, and up to 2 s later at least, so that those who
    /// were sent away together do not return together.
    #[must_use]
    pub fn after_about(self, least: Duration) -> Self {
        self.after(spread(least, least.max(SPREAD)))
    }

    /// A token was sent, and it does not count.
    #[must_use]
    pub fn invalid_token(mut self) -> Self {
        self.is_invalid_token = true;
        self
    }
}

/// By how much at least the times differ at which members are told to ask again.
const SPREAD: Duration = Duration::from_secs(2);
/// What a body takes, about.
const TYPICAL_BYTES: usize = 256;

/// The one that a crowd is told, made once.
static SOLD_OUT: LazyLock<(Problem, Bytes)> = LazyLock::new(|| {
    let problem = Problem::sold_out();
    let members = problem.to_json(None);
    (problem, members)
});

#[derive(Serialize)]
struct Members<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'static str,
    detail: &'a str,
    /// RFC 9457, section 3.1.5: this occurrence. Stands in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let id = status.is_server_error().then(Uuid::now_v7);
        let mut response = Response::new(Body::from(self.members(id)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = if self.is_invalid_token { "Bearer error=\"invalid_token\"" } else { "Bearer" };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Some(id) = id {
            response.extensions_mut().insert(Fault { id, problem: self });
        }
        response
    }
}

/// An answer to a member is nobody else's, and true for a moment.
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
        let response = Problem::new(Code::Unauthenticated, "why").after(Duration::from_millis(1500)).into_response();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        let header = |name| response.headers().get(name).unwrap().to_str().unwrap();
        assert_eq!(header(CONTENT_TYPE), "application/problem+json");
        assert_eq!((header(WWW_AUTHENTICATE), header(RETRY_AFTER)), ("Bearer", "2"));
        assert_eq!(header(CACHE_CONTROL), "no-store");
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        let expected =
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"UNAUTHENTICATED","detail":"why"}"#;
        assert_eq!(body, expected);
        let response = Problem::new(Code::Unauthenticated, "why").invalid_token().into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer error=\"invalid_token\"");
    }

    #[tokio::test]
    async fn a_fault_of_ours_carries_an_id_and_every_other_problem_none() {
        for code in Code::ALL {
            let response = Problem::new(*code, "why").into_response();
            let logged = response.extensions().get::<Fault>().map(|fault| fault.id.urn().to_string());
            let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
            let told = serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            assert_eq!(told["instance"].as_str(), logged.as_deref(), "{told}");
            assert_eq!(logged.is_some(), code.status().is_server_error(), "{told}");
        }
    }

    #[test]
    fn members_who_are_sent_away_together_are_not_told_to_return_together() {
        for (least, most) in [(1, 3), (30, 60)] {
            let told = |_| Problem::new(Code::GateClosed, "").after_about(Duration::from_secs(least)).retry_after;
            let seconds: std::collections::BTreeSet<u64> = (0..200).filter_map(told).map(whole_seconds).collect();
            assert!(seconds.len() > 1 && seconds.iter().all(|told| (least..=most).contains(told)), "{seconds:?}");
        }
    }

    #[test]
    fn what_is_answered_before_a_handler_has_codes_of_this_api() {
        for (status, word, _) in coupon_core::runtime::http::UNREADABLE {
            assert!(Code::ALL.iter().any(|code| code.as_str() == word && code.status() == status), "{word}");
        }
    }
}
