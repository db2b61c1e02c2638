//! Errors as `application/problem+json` (RFC 9457) with a stable code.

use std::{borrow::Cow, sync::LazyLock, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// An answer that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
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
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// Every coupon is held by somebody.
    pub fn sold_out() -> Self {
        Self::new(Code::SoldOut, "every coupon is held by somebody")
    }

    fn members(&self) -> Bytes {
        let (sold_out, members) = &*SOLD_OUT;
        if self == sold_out { members.clone() } else { self.to_json() }
    }

    fn to_json(&self) -> Bytes {
        let status = self.code.status();
        let members = Members {
            r#type: "about:blank",
            // RFC 9457, section 4.2.1: with about:blank the title is the phrase of the status.
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code: self.code.as_str(),
            detail: &self.detail,
        };
        let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
        serde_json::to_writer(&mut bytes, &members).expect("a struct of texts and a number always serialises");
        bytes.into()
    }

    /// The word by which it is known.
    pub fn code(&self) -> Code {
        self.code
    }

    /// When to ask again.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// What a body takes, about.
const TYPICAL_BYTES: usize = 256;

/// The one that a crowd is told, made once.
static SOLD_OUT: LazyLock<(Problem, Bytes)> = LazyLock::new(|| {
    let problem = Problem::sold_out();
    let members = problem.to_json();
    (problem, members)
});

#[derive(Serialize)]
struct Members<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: &'static str,
    detail: &'a str,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let mut response = Response::new(Body::from(self.members()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

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
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        let expected =
            r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"UNAUTHENTICATED","detail":"why"}"#;
        assert_eq!(body, expected);
    }
}
