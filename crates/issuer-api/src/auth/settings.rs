//! The `[auth]` section.

use std::net::IpAddr;

use coupon_core::runtime::{Secret, SecretUrl, SettingsError, within};
use jsonwebtoken::Algorithm;
use reqwest::Url;
use serde::{Deserialize, Serialize};

/// Every algorithm a token may be signed with. `none` is not one.
const ALGORITHMS: &str = "HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA";

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
    /// Tests what can be tested without reading a key. Whether the keys serve is tested by [`Verifier::load`](super::Verifier::load),
    /// because the commands for operators need none.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.allowed()?;
        within("auth.leeway_s", self.leeway_s, 0..=300, "seconds")?;
        within("auth.jwks_refresh_ms", self.jwks_refresh_ms, 1_000..=86_400_000, "ms")?;
        within("auth.jwks_min_interval_ms", self.jwks_min_interval_ms, 1_000..=3_600_000, "ms")?;
        if !self.hmac_secret.is_empty() && !self.hmac_secret_file.is_empty() {
            let allowed = "empty while auth.hmac_secret is set; several secrets go into auth.hmac_secret_files";
            return Err(SettingsError::invalid("auth.hmac_secret_file", &self.hmac_secret_file, allowed));
        }
        let claim = &self.member_claim;
        if claim.is_empty() || OTHER_CLAIMS.contains(&claim.as_str()) || claim.contains(char::is_control) {
            let allowed = format!(
                "the name of the claim that names the member, such as sub, and none of {}",
                OTHER_CLAIMS.join(", ")
            );
            return Err(SettingsError::invalid("auth.member_claim", claim, allowed));
        }
        self.url()?;
        if self.jwks_url.is_empty() && !self.jwks_ca_file.is_empty() {
            let allowed = "empty while auth.jwks_url is: it verifies the server there";
            return Err(SettingsError::invalid("auth.jwks_ca_file", &self.jwks_ca_file, allowed));
        }
        Ok(())
    }

    /// Where the JWK Set is, if it is anywhere. Whoever can answer in the place of the issuer chooses who a member is, so
    /// plain HTTP is for this machine alone.
    pub(super) fn url(&self) -> Result<Option<Url>, SettingsError> {
        const ALLOWED: &str = "an https URL without user and fragment (http only to this machine: whoever can answer in the \
                               issuer's place chooses the keys)";
        if self.jwks_url.is_empty() {
            return Ok(None);
        }
        let good = Url::parse(self.jwks_url.expose()).ok().filter(|url| {
            url.has_host()
                && url.username().is_empty()
                && url.password().is_none()
                && url.fragment().is_none()
                && (url.scheme() == "https" || url.scheme() == "http" && is_loopback(url))
        });
        // What is refused may hold a password.
        good.map(Some).ok_or_else(|| SettingsError::invalid("auth.jwks_url", "***", ALLOWED))
    }

    /// The allow-list.
    pub(super) fn allowed(&self) -> Result<Vec<Algorithm>, SettingsError> {
        let read = |name: &String| {
            let allowed = format!("some of {ALGORITHMS}");
            name.parse().map_err(|_| SettingsError::invalid("auth.algorithms", name, allowed))
        };
        let allowed: Vec<Algorithm> = self.algorithms.iter().map(read).collect::<Result<_, _>>()?;
        if allowed.is_empty() {
            return Err(SettingsError::invalid("auth.algorithms", "", format!("some of {ALGORITHMS}")));
        }
        Ok(allowed)
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
