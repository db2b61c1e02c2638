//! Who is asking: the subject of a verified token, and nothing else.

mod keys;
mod token;

pub use keys::{Key, load_keys};
pub use token::{TokenError, Verifier};

use coupon_core::runtime::{Secret, SettingsError, within};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

/// Every algorithm a token may be signed with. `none` is not one.
const ALGORITHMS: &str = "HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA";

/// The `[auth]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthSettings {
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
    /// Secret of the HS algorithms; empty: none.
    pub hmac_secret: Secret,
    /// File with that secret; empty: none.
    pub hmac_secret_file: String,
    /// How far the clocks may be apart, in seconds.
    pub leeway_s: u64,
}

impl AuthSettings {
    /// Tests what can be tested without reading a key. Whether the keys serve is tested by [`Verifier::load`],
    /// because the commands for operators need none.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.allowed()?;
        within("auth.leeway_s", self.leeway_s, 0..=300, "seconds")?;
        if !self.hmac_secret.is_empty() && !self.hmac_secret_file.is_empty() {
            let allowed = "empty while auth.hmac_secret is set: there is one secret";
            return Err(SettingsError::invalid("auth.hmac_secret_file", &self.hmac_secret_file, allowed));
        }
        Ok(())
    }

    /// The allow-list.
    fn allowed(&self) -> Result<Vec<Algorithm>, SettingsError> {
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
