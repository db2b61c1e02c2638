//! Tokens, signed as an identity provider would sign them, and wrong ones of every kind.

use anyhow::Result;
use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

/// `{"alg":"none","typ":"JWT"}` in base64url.
const HEADER_WITHOUT_ALGORITHM: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";

/// Holds the secret that the API trusts.
#[derive(Clone, Debug)]
pub struct Signer {
    secret: String,
    issuer: String,
    audience: String,
}

impl Signer {
    /// A signer with this secret, for this issuer and audience.
    pub fn new(secret: &str, issuer: &str, audience: &str) -> Self {
        Self { secret: secret.to_owned(), issuer: issuer.to_owned(), audience: audience.to_owned() }
    }

    /// A signer with a secret that no other world knows.
    pub fn new_of_world() -> Self {
        let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        Self::new(&secret, "https://identity.test", "coupons")
    }

    /// Returns the HMAC secret.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The `iss` that the API expects.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The `aud` that the API expects.
    pub fn audience(&self) -> &str {
        &self.audience
    }

    /// A token of a member: right, valid for an hour, until something is changed.
    pub fn token(&self, member: &str) -> Token {
        let claims = json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": member,
            "exp": Utc::now().timestamp() + 3600,
        });
        let claims = claims.as_object().cloned().unwrap_or_default();
        Token { claims, algorithm: Algorithm::HS256, secret: self.secret.clone() }
    }
}

/// A token before it is signed.
#[derive(Clone, Debug)]
#[must_use = "a token is of use once it is signed"]
pub struct Token {
    claims: Map<String, Value>,
    algorithm: Algorithm,
    secret: String,
}

impl Token {
    /// Sets a claim, or replaces it.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Expires so many seconds from now; negative is in the past.
    pub fn expires_in(self, seconds: i64) -> Self {
        let at = Utc::now().timestamp() + seconds;
        self.claim("exp", at)
    }

    /// Signs with another HMAC algorithm.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Signs with another secret: a forgery.
    pub fn forged_with(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    /// Returns the signed token.
    pub fn sign(&self) -> Result<String> {
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        Ok(jsonwebtoken::encode(&Header::new(self.algorithm), &self.claims, &key)?)
    }

    /// The token with `alg: none` and no signature.
    pub fn unsigned(&self) -> Result<String> {
        let signed = self.sign()?;
        let claims = signed.split('.').nth(1).unwrap_or_default();
        Ok(format!("{HEADER_WITHOUT_ALGORITHM}.{claims}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_and_an_unsigned_one_an_empty_third() {
        let signer = Signer::new_of_world();
        let token = signer.token("alice").sign().expect("a secret signs");
        assert_eq!(token.split('.').count(), 3);
        let unsigned = signer.token("alice").unsigned().expect("a secret signs");
        assert!(unsigned.starts_with(HEADER_WITHOUT_ALGORITHM) && unsigned.ends_with('.'));
    }
}
