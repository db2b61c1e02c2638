//! The `[auth]` section.

use coupon_core::{
    runtime::{Secret, SecretUrl, SettingsError},
    tokens::{MemberClaim, TokenSettings},
};
use serde::{Deserialize, Serialize};

use super::Verifier;

/// Claims with a meaning of their own, which no member has.
const OTHER_CLAIMS: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// How a token is verified, and by which keys; `config.default.toml` explains each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AuthSettings {
    /// The claim `iss` must be this.
    pub issuer: String,
    /// The claim `aud` must be this, or hold it.
    pub audience: String,
    /// The claim that names the member.
    pub member_claim: String,
    /// Algorithms a token may be signed with.
    pub algorithms: Vec<String>,
    /// PEM file with one public key; empty: none.
    pub public_key_file: String,
    /// JWK Set file with public keys; empty: none.
    pub jwks_file: String,
    /// Where the issuer publishes its JWK Set; empty: nowhere.
    pub jwks_url: SecretUrl,
    /// PEM file with the root certificates that the server at `jwks_url` is verified by; empty: those of the system.
    pub jwks_ca_file: String,
    /// Interval between two requests for that set, in ms.
    pub jwks_refresh_ms: u64,
    /// Least time between two requests that are made because a token names an unknown key, or because one failed, in ms.
    pub jwks_min_interval_ms: u64,
    /// Secret of the HS algorithms; empty: none.
    pub hmac_secret: Secret,
    /// File with that secret; empty: none.
    pub hmac_secret_file: String,
    /// Files with further secrets, each of which counts.
    pub hmac_secret_files: Vec<String>,
    /// How far the clocks may be apart, in seconds.
    pub leeway_s: u64,
}

impl AuthSettings {
    /// Tests what can be tested without reading a key. Whether the keys serve is tested by [`AuthSettings::verifier`], because
    /// the commands for operators need none.
    pub fn check(&self) -> Result<(), SettingsError> {
        let claim = &self.member_claim;
        if claim.is_empty() || OTHER_CLAIMS.contains(&claim.as_str()) || claim.contains(char::is_control) {
            let allowed = format!(
                "the name of the claim that names the member, such as sub, and none of {}",
                OTHER_CLAIMS.join(", ")
            );
            return Err(SettingsError::invalid("auth.member_claim", claim, allowed));
        }
        self.tokens().check()
    }

    /// Reads the keys, and returns what verifies the tokens of members.
    pub fn verifier(&self) -> Result<Verifier, SettingsError> {
        Verifier::load(&self.tokens(), MemberClaim(self.member_claim.clone()))
    }

    fn tokens(&self) -> TokenSettings {
        let of = self.clone();
        TokenSettings {
            section: "auth",
            service: "issuer-api",
            issuer: of.issuer,
            audience: of.audience,
            algorithms: of.algorithms,
            public_key_file: of.public_key_file,
            jwks_file: of.jwks_file,
            jwks_url: of.jwks_url,
            jwks_ca_file: of.jwks_ca_file,
            jwks_refresh_ms: of.jwks_refresh_ms,
            jwks_min_interval_ms: of.jwks_min_interval_ms,
            hmac_secret: of.hmac_secret,
            hmac_secret_file: of.hmac_secret_file,
            hmac_secret_files: of.hmac_secret_files,
            leeway_s: of.leeway_s,
        }
    }
}
