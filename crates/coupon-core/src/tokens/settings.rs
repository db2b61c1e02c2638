//! How tokens are verified, and by which keys, whatever section of the settings says it.

use std::net::IpAddr;

use jsonwebtoken::Algorithm;
use reqwest::Url;

use crate::runtime::{Secret, SecretUrl, SettingsError, within};

/// Every algorithm a token may be signed with. `none` is not one.
const ALGORITHMS: &str = "HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA";

/// How a token is verified, and by which keys.
#[derive(Clone, Debug, Default)]
pub struct TokenSettings {
    /// The section whose settings these are, such as `auth`: errors name them in full.
    pub section: &'static str,
    /// Name of the service, which a request for a JWK Set carries.
    pub service: &'static str,
    /// The claim `iss` must be this.
    pub issuer: String,
    /// The claim `aud` must be this, or hold it.
    pub audience: String,
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

/// The allow-list of algorithms, and the section that holds it.
#[derive(Clone, Debug)]
pub(super) struct Allowed {
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) section: &'static str,
}

impl TokenSettings {
    /// Tests what can be tested without reading a key. Whether the keys serve is tested by [`Verifier::load`](super::Verifier::load),
    /// because the commands for operators need none.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.allowed()?;
        within(&self.key("leeway_s"), self.leeway_s, 0..=300, "seconds")?;
        within(&self.key("jwks_refresh_ms"), self.jwks_refresh_ms, 1_000..=86_400_000, "ms")?;
        within(&self.key("jwks_min_interval_ms"), self.jwks_min_interval_ms, 1_000..=3_600_000, "ms")?;
        if !self.hmac_secret.is_empty() && !self.hmac_secret_file.is_empty() {
            let allowed = format!(
                "empty while {} is set; several secrets go into {}",
                self.key("hmac_secret"),
                self.key("hmac_secret_files")
            );
            return Err(SettingsError::invalid(self.key("hmac_secret_file"), &self.hmac_secret_file, allowed));
        }
        self.url()?;
        if self.jwks_url.is_empty() && !self.jwks_ca_file.is_empty() {
            let allowed = format!("empty while {} is: it verifies the server there", self.key("jwks_url"));
            return Err(SettingsError::invalid(self.key("jwks_ca_file"), &self.jwks_ca_file, allowed));
        }
        Ok(())
    }

    /// The full name of a setting of the section.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.section)
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
        good.map(Some).ok_or_else(|| SettingsError::invalid(self.key("jwks_url"), "***", ALLOWED))
    }

    /// The allow-list.
    pub(super) fn allowed(&self) -> Result<Allowed, SettingsError> {
        let read = |name: &String| {
            let allowed = format!("some of {ALGORITHMS}");
            name.parse().map_err(|_| SettingsError::invalid(self.key("algorithms"), name, allowed))
        };
        let algorithms: Vec<Algorithm> = self.algorithms.iter().map(read).collect::<Result<_, _>>()?;
        if algorithms.is_empty() {
            return Err(SettingsError::invalid(self.key("algorithms"), "", format!("some of {ALGORITHMS}")));
        }
        Ok(Allowed { algorithms, section: self.section })
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
