//! The member behind a request: the verified token, never the body or the path.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use coupon_core::ids::MemberId;

use super::{Code, Problem};
use crate::auth::{TokenError, Verifier};

/// Reads and verifies the token.
pub(super) fn member(verifier: &Verifier, headers: &HeaderMap) -> Result<MemberId, Problem> {
    token(headers).and_then(|token| verifier.member(token)).map_err(|error| {
        let problem = Problem::new(Code::Unauthenticated, error.to_string());
        // RFC 6750, section 3.1: no error code for a request without any token.
        if error == TokenError::Missing { problem } else { problem.invalid_token() }
    })
}

fn token(headers: &HeaderMap) -> Result<&str, TokenError> {
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
}
