//! The `[admission]` section.

use coupon_core::{
    runtime::{SecretUrl, SettingsError},
    tokens::TokenSettings,
};
use serde::{Deserialize, Serialize};

use super::{AdmissionClaims, AdmissionVerifier};
use crate::auth::AuthSettings;

/// How a token of the waiting room is verified, and by which keys; `config.default.toml` explains each.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AdmissionSettings {
    /// The claim `iss` must be this; empty: there is no waiting room.
    pub issuer: String,
    /// The claim `aud` must be this, or hold it; another one than members have.
    pub audience: String,
    /// Algorithms a token may be signed with.
    pub algorithms: Vec<String>,
    /// PEM file with one public key; empty: none.
    pub public_key_file: String,
    /// JWK Set file with public keys; empty: none.
    pub jwks_file: String,
    /// Where the waiting room publishes its JWK Set; empty: nowhere.
    pub jwks_url: SecretUrl,
    /// PEM file with the root certificates that the server at `jwks_url` is verified by; empty: those of the system.
    pub jwks_ca_file: String,
    /// Interval between two requests for that set, in ms.
    pub jwks_refresh_ms: u64,
    /// Least time between two requests that are made because a token names an unknown key, or because one failed, in ms.
    pub jwks_min_interval_ms: u64,
    /// Files with secrets of the HS algorithms, each of which counts.
    pub hmac_secret_files: Vec<String>,
    /// How far the clocks may be apart, in seconds.
    pub leeway_s: u64,
}

impl AdmissionSettings {
    /// Whether there is a waiting room whose tokens can be verified.
    pub fn is_set(&self) -> bool {
        !self.issuer.is_empty()
    }

    /// Tests what can be tested without reading a key.
    pub fn check(&self, members: &AuthSettings) -> Result<(), SettingsError> {
        if !self.is_set() {
            let is_begun = !self.audience.is_empty()
                || !self.public_key_file.is_empty()
                || !self.jwks_file.is_empty()
                || !self.jwks_url.is_empty()
                || !self.hmac_secret_files.is_empty();
            let allowed =
                "the claim iss of the waiting room's tokens, where one of the other settings of [admission] is there";
            return if is_begun { Err(SettingsError::invalid("admission.issuer", "", allowed)) } else { Ok(()) };
        }
        // With the same one, each token of the waiting room could be a token of the member.
        if self.audience.is_empty() || self.audience == members.audience {
            let allowed = "the claim aud of the waiting room's tokens, another one than auth.audience";
            return Err(SettingsError::invalid("admission.audience", &self.audience, allowed));
        }
        self.tokens().check()
    }

    /// Reads the keys, and returns what verifies the tokens of the waiting room; `None`: there is none.
    pub fn verifier(&self) -> Result<Option<AdmissionVerifier>, SettingsError> {
        self.is_set().then(|| AdmissionVerifier::load(&self.tokens(), AdmissionClaims)).transpose()
    }

    fn tokens(&self) -> TokenSettings {
        let of = self.clone();
        TokenSettings {
            section: "admission",
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
            hmac_secret_files: of.hmac_secret_files,
            leeway_s: of.leeway_s,
            ..TokenSettings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_the_waiting_room_can_be_none_of_a_member() {
        let members = AuthSettings { audience: "coupons".to_owned(), ..AuthSettings::default() };
        let check = |issuer: &str, audience: &str| {
            let settings = AdmissionSettings {
                issuer: issuer.to_owned(),
                audience: audience.to_owned(),
                algorithms: vec!["ES256".to_owned()],
                jwks_refresh_ms: 300_000,
                jwks_min_interval_ms: 10_000,
                ..AdmissionSettings::default()
            };
            settings.check(&members).map_err(|error| error.to_string())
        };
        assert_eq!((check("", ""), check("https://queue.test", "admission")), (Ok(()), Ok(())));
        for (issuer, audience, setting) in [
            ("", "admission", "admission.issuer"),
            ("https://queue.test", "", "admission.audience"),
            ("https://queue.test", "coupons", "admission.audience"),
        ] {
            let said = check(issuer, audience).unwrap_err();
            assert!(said.contains(setting), "{said}");
        }
    }
}
