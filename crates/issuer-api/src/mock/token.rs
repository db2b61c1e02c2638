//! The member that a token names, unverified.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use coupon_core::ids::MemberId;
use serde::Deserialize;

use crate::auth::TokenError;

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Returns the `sub` of a JWT, or the whole text of any other token. Nothing is verified.
pub(crate) fn member_of(token: &str) -> Result<MemberId, TokenError> {
    let claims = token.split('.').nth(1).and_then(|claims| BASE64_URL_SAFE_NO_PAD.decode(claims).ok());
    let subject = claims.and_then(|claims| serde_json::from_slice(&claims).ok()).map(|Claims { sub }| sub);
    subject.as_deref().unwrap_or(token).parse().map_err(|_| TokenError::Subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_named_by_the_subject_of_a_jwt_or_by_the_whole_token() {
        let named = |token: &str| member_of(token).map(|member| member.as_str().to_owned());
        let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"sold-out.bob","exp":1}"#);
        assert_eq!(named(&format!("e30.{claims}.signature")), Ok("sold-out.bob".to_owned()));
        for whole in ["alice", "stock-unavailable~2.alice", "a.b.c"] {
            assert_eq!(named(whole), Ok(whole.to_owned()));
        }
        assert_eq!(named(""), Err(TokenError::Subject));
    }
}
