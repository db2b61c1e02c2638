//! Tokens, signed as an identity provider would sign them, and wrong ones of every kind.

use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::Utc;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Map, Value, json};

/// `{"alg":"none","typ":"JWT"}` in base64url.
const HEADER_WITHOUT_ALGORITHM: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";

/// Holds the secret, or the key pair, whose tokens the API trusts.
#[derive(Clone, Debug)]
pub struct Signer {
    secret: String,
    pair: Option<Pair>,
    algorithm: Algorithm,
    issuer: String,
    audience: String,
}

#[derive(Clone, Debug)]
struct Pair {
    private: Arc<EncodingKey>,
    public_pem: String,
}

impl Signer {
    /// A signer with this secret, for this issuer and audience.
    pub fn new(secret: &str, issuer: &str, audience: &str) -> Self {
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        Self { secret: secret.to_owned(), pair: None, algorithm: Algorithm::HS256, issuer, audience }
    }

    /// A signer with a secret that no other world knows.
    pub fn new_of_world() -> Self {
        let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        Self::new(&secret, "https://identity.test", "coupons")
    }

    /// The same with a new key pair, and its secret for nothing, unless the algorithm is HS256.
    pub fn signing_with(self, algorithm: Algorithm) -> Result<Self> {
        let pair = match algorithm {
            Algorithm::HS256 => return Ok(self),
            Algorithm::RS256 => KeyPair::generate_for(&PKCS_RSA_SHA256)?,
            Algorithm::ES256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
            _ => KeyPair::generate_for(&PKCS_ED25519)?,
        };
        let private = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes())?,
            Algorithm::ES256 => EncodingKey::from_ec_der(&pair.serialize_der()),
            _ => EncodingKey::from_ed_der(&pair.serialize_der()),
        };
        let pair = Some(Pair { private: Arc::new(private), public_pem: pair.public_key_pem() });
        Ok(Self { pair, algorithm, ..self })
    }

    /// The algorithm that its tokens are signed with.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What tokens are verified by: the public key as PEM, or the secret.
    pub fn verifies_by(&self) -> &str {
        self.pair.as_ref().map_or(&self.secret, |pair| &pair.public_pem)
    }

    /// The setting that names the file with [`Signer::verifies_by`].
    pub fn setting(&self) -> &'static str {
        if self.pair.is_some() { "auth.public_key_file" } else { "auth.hmac_secret_file" }
    }

    /// The public key as an issuer publishes it in a JWK Set, under this `kid`.
    pub fn jwk(&self, kid: &str) -> Result<Value> {
        let pair = self.pair.as_ref().context("a secret is not published")?;
        let public = match self.algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_pem(pair.public_pem.as_bytes()),
            Algorithm::ES256 => DecodingKey::from_ec_pem(pair.public_pem.as_bytes()),
            _ => DecodingKey::from_ed_pem(pair.public_pem.as_bytes()),
        };
        let mut jwk = Jwk::from_decoding_key(&public?, Some(self.algorithm))?;
        jwk.common.key_id = Some(kid.to_owned());
        Ok(serde_json::to_value(jwk)?)
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
        Token { claims, algorithm: self.algorithm, secret: self.secret.clone(), pair: self.pair.clone(), kid: None }
    }
}

/// A token before it is signed.
#[derive(Clone, Debug)]
#[must_use = "a token is of use once it is signed"]
pub struct Token {
    claims: Map<String, Value>,
    algorithm: Algorithm,
    secret: String,
    pair: Option<Pair>,
    kid: Option<String>,
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

    /// Names the key in its header.
    pub fn kid(mut self, kid: &str) -> Self {
        self.kid = Some(kid.to_owned());
        self
    }

    /// Signs with another secret: a forgery.
    pub fn forged_with(mut self, secret: &str) -> Self {
        secret.clone_into(&mut self.secret);
        self
    }

    /// Returns the signed token.
    pub fn sign(&self) -> Result<String> {
        let header = Header { kid: self.kid.clone(), ..Header::new(self.algorithm) };
        let secret = || Arc::new(EncodingKey::from_secret(self.secret.as_bytes()));
        let pair = self.pair.as_ref().filter(|_| self.algorithm.family() != AlgorithmFamily::Hmac);
        let key = pair.map_or_else(secret, |pair| Arc::clone(&pair.private));
        Ok(jsonwebtoken::encode(&header, &self.claims, &key)?)
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

    #[test]
    fn what_a_key_pair_signs_its_published_key_verifies() {
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            let signer = Signer::new_of_world().signing_with(algorithm).expect("a key pair is made");
            let token = signer.token("alice").kid("one").sign().expect("a key signs");
            let jwk = serde_json::from_value(signer.jwk("one").expect("a public key")).expect("a JWK");
            let key = DecodingKey::from_jwk(&jwk).expect("a key");
            let mut validation = jsonwebtoken::Validation::new(algorithm);
            validation.set_audience(&[signer.audience()]);
            let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).expect("it verifies").claims;
            assert_eq!(claims["sub"], "alice");
        }
    }
}
