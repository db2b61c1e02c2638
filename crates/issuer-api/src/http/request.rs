//! What is read from a request: the member by the verified token, never by body or path; the coupon code; the body, which
//! must be empty.

use std::time::Duration;

use axum::{
    body::{Body, HttpBody},
    extract::{Path, rejection::PathRejection},
    http::{HeaderMap, header::AUTHORIZATION},
};
use coupon_core::ids::{CouponCode, InvalidId, MemberId};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{Api, Code, Problem};
use crate::auth::TokenError;

/// Reads and verifies the token, and counts one that is refused.
pub(super) async fn member(api: &Api, headers: &HeaderMap) -> Result<MemberId, Problem> {
    let member = match token(headers) {
        Ok(token) => api.identify(token).await,
        Err(error) => Err(error),
    };
    let member = member.map_err(|error| {
        api.refusals.count(error);
        let problem = Problem::new(Code::Unauthenticated, error.to_string());
        // RFC 6750, section 3.1: no error code for a request without any token.
        if error == TokenError::Missing { problem } else { problem.invalid_token() }
    })?;
    api.accept.forced(&member, false)?;
    Ok(member)
}

/// Returns the token of a request.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    // Of two headers a proxy in front may have checked the other one.
    if values.next().is_some() {
        return Err(TokenError::Several);
    }
    let (scheme, token) =
        value.to_str().map_err(|_| TokenError::Malformed)?.split_once(' ').ok_or(TokenError::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Missing);
    }
    Ok(token.trim_matches(' '))
}

/// Reads the coupon code of a path.
pub(super) fn coupon_code(path: Result<Path<String>, PathRejection>) -> Result<CouponCode, Problem> {
    parse_code(path.map(|Path(code)| code).unwrap_or_default())
}

/// The coupon code of a path, for a log; `None` for what is none, which is whatever somebody writes.
pub(super) fn noted_code(path: &Result<Path<String>, PathRejection>) -> Option<CouponCode> {
    path.as_ref().ok()?.parse().ok()
}

/// Reads a coupon code.
pub(super) fn parse_code(code: String) -> Result<CouponCode, Problem> {
    code.try_into().map_err(|error: InvalidId| Problem::new(Code::InvalidCouponCode, error.to_string()))
}

/// Accepts an empty body, `{}` and `null`.
pub(super) async fn check_body(body: Body, max_bytes: usize, within: Duration) -> Result<(), Problem> {
    // Hardly any client sends a body, and a deadline costs more than this check.
    if body.is_end_stream() {
        return Ok(());
    }
    let too_large = || Err(Problem::new(Code::PayloadTooLarge, format!("the body may have {max_bytes} bytes")));
    if body.size_hint().lower() > max_bytes as u64 {
        return too_large();
    }
    match timeout(within, Limited::new(body, max_bytes).collect()).await {
        Ok(Ok(body)) => check_empty(&body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => too_large(),
        Ok(Err(_)) => Err(Problem::new(Code::InvalidBody, "the body broke off")),
        Err(_) => {
            Err(Problem::new(Code::RequestTimeout, format!("the body did not come within {} ms", within.as_millis())))
        }
    }
}

/// Unknown fields are refused: whoever sends one believes that it does something. `null` is what generated clients for Go and
/// Java send for no body.
fn check_empty(bytes: &[u8]) -> Result<(), Problem> {
    if bytes.is_empty() {
        return Ok(());
    }
    match serde_json::from_slice::<Option<serde_json::Map<String, serde_json::Value>>>(bytes) {
        Ok(object) if object.as_ref().is_none_or(serde_json::Map::is_empty) => Ok(()),
        Ok(_) => Err(Problem::new(Code::InvalidBody, "the body has an unknown field; it must be empty or {}")),
        Err(_) => Err(Problem::new(Code::InvalidBody, "the body must be empty or {}")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_token_is_the_one_bearer_credential() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            token(&headers).map(str::to_owned)
        };
        assert_eq!(read(&["Bearer a.b.c"]), Ok("a.b.c".to_owned()));
        assert_eq!(read(&["bearer  a.b.c"]), Ok("a.b.c".to_owned()));
        assert_eq!(read(&[]), Err(TokenError::Missing));
        assert_eq!(read(&["Basic dTpw"]), Err(TokenError::Missing));
        assert_eq!(read(&["Bearer"]), Err(TokenError::Missing));
        assert_eq!(read(&["Bearer a.b.c", "Bearer d.e.f"]), Err(TokenError::Several));
    }

    async fn refused(body: impl Into<Body>) -> Option<Problem> {
        check_body(body.into(), 64, Duration::from_secs(1)).await.err()
    }

    #[tokio::test]
    async fn only_an_empty_body_an_empty_object_or_null_is_accepted() {
        for good in ["", "{}", " {\n} ", "null"] {
            assert_eq!(refused(good).await, None, "{good:?}");
        }
        for bad in ["[]", "nul", "0", "{", "{}{}", r#"{"member_id":"11"}"#, "\u{feff}{}", "<a/>"] {
            let said = format!("{:?}", refused(bad).await);
            assert!(said.contains("InvalidBody"), "{bad:?}: {said}");
        }
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_cut_off() {
        let said = format!("{:?}", refused("x".repeat(65)).await);
        assert!(said.contains("PayloadTooLarge"), "{said}");
    }
}
