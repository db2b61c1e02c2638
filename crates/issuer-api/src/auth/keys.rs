//! Verification keys: read once at the start, each tied to the algorithms it may be used with.

use std::fs;

use coupon_core::runtime::SettingsError;
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse},
};

use super::AuthSettings;

/// RFC 7518, section 3.2: a key of the size of the hash output or larger.
fn least_secret_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS512 => 64,
        Algorithm::HS384 => 48,
        _ => 32,
    }
}
/// 2048 bits (RFC 7518, section 3.3: must be used) and 4096 bits (the most the verifier takes), as the length of the
/// modulus and of the DER around it.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;
const RSA_DER_BYTES: std::ops::RangeInclusive<usize> = 266..=534;

/// A key and what it may verify.
#[derive(Clone, Debug)]
pub struct Key {
    /// The `kid` of a JWK.
    pub id: Option<String>,
    /// The setting it comes from.
    pub origin: &'static str,
    /// Allowed algorithms of its own family, and no other: a public key must never pass for an HMAC secret.
    pub algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

/// Reads every configured key. Fails with a sentence when there is none, when one cannot be read or serves no allowed
/// algorithm, or when an allowed algorithm has no key.
pub fn load_keys(settings: &AuthSettings) -> Result<Vec<Key>, SettingsError> {
    let allowed = settings.allowed()?;
    let mut keys = Vec::new();
    if !settings.public_key_file.is_empty() {
        keys.push(from_pem(&settings.public_key_file, &allowed)?);
    }
    if !settings.jwks_file.is_empty() {
        keys.extend(from_jwks(&settings.jwks_file, &allowed)?);
    }
    if !settings.hmac_secret.is_empty() {
        keys.push(from_secret("auth.hmac_secret", settings.hmac_secret.expose().as_bytes(), "***", &allowed)?);
    }
    if !settings.hmac_secret_file.is_empty() {
        let file = &settings.hmac_secret_file;
        let secret = read("auth.hmac_secret_file", file)?;
        keys.push(from_secret("auth.hmac_secret_file", secret.trim_ascii_end(), file, &allowed)?);
    }
    if keys.is_empty() {
        let allowed = "set, or auth.jwks_file, or auth.hmac_secret_file (or auth.hmac_secret): without a key no token can be verified";
        return Err(SettingsError::invalid("auth.public_key_file", "", allowed));
    }
    let orphans: Vec<String> = allowed
        .iter()
        .filter(|algorithm| !keys.iter().any(|key| key.algorithms.contains(algorithm)))
        .map(|algorithm| format!("{algorithm:?}"))
        .collect();
    if !orphans.is_empty() {
        let allowed = format!("algorithms that a configured key can verify, and none verifies {}", orphans.join(", "));
        return Err(SettingsError::invalid("auth.algorithms", settings.algorithms.join(","), allowed));
    }
    Ok(keys)
}

fn read(setting: &str, file: &str) -> Result<Vec<u8>, SettingsError> {
    fs::read(file).map_err(|error| SettingsError::invalid(setting, file, format!("a readable file ({error})")))
}

fn from_pem(file: &str, allowed: &[Algorithm]) -> Result<Key, SettingsError> {
    const SETTING: &str = "auth.public_key_file";
    let pem = read(SETTING, file)?;
    let text = String::from_utf8_lossy(&pem);
    // The parser takes private keys and certificates too, and finds something else in them.
    let is_public =
        ["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"].iter().any(|head| text.contains(head));
    let key = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem]
        .iter()
        .find_map(|parse| parse(&pem).ok())
        .filter(|key| is_public && is_sound(key));
    let Some(key) = key else {
        let allowed = "a PEM file with one public key: RSA of 2048 to 4096 bits, EC P-256 or P-384, or Ed25519";
        return Err(SettingsError::invalid(SETTING, file, allowed));
    };
    let algorithms = usable(&key, allowed);
    if algorithms.is_empty() {
        return Err(no_use(SETTING, file, &key));
    }
    Ok(Key { id: None, origin: SETTING, algorithms, key })
}

fn from_jwks(file: &str, allowed: &[Algorithm]) -> Result<Vec<Key>, SettingsError> {
    const SETTING: &str = "auth.jwks_file";
    let set: JwkSet = serde_json::from_slice(&read(SETTING, file)?)
        .map_err(|error| SettingsError::invalid(SETTING, file, format!("a JWK Set ({error})")))?;
    if set.keys.iter().any(|jwk| matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))) {
        return Err(SettingsError::invalid(
            SETTING,
            file,
            "a set of public keys: a shared secret goes into auth.hmac_secret_file",
        ));
    }
    let keys: Vec<Key> = set.keys.iter().filter_map(|jwk| from_jwk(jwk, SETTING, allowed)).collect();
    if keys.is_empty() {
        let allowed = "a JWK Set with a key for one of auth.algorithms";
        return Err(SettingsError::invalid(SETTING, file, allowed));
    }
    Ok(keys)
}

/// A key of a set; `None` when it is for something else, as an issuer's set may hold keys for other purposes.
fn from_jwk(jwk: &Jwk, origin: &'static str, allowed: &[Algorithm]) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok().filter(is_sound)?;
    let named = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    let mut algorithms = usable(&key, allowed);
    algorithms.retain(|algorithm| named.as_ref().is_none_or(|named| *named == format!("{algorithm:?}")));
    (!algorithms.is_empty()).then(|| Key { id: jwk.common.key_id.clone(), origin, algorithms, key })
}

fn from_secret(setting: &'static str, secret: &[u8], shown: &str, allowed: &[Algorithm]) -> Result<Key, SettingsError> {
    let key = DecodingKey::from_secret(secret);
    let algorithms = usable(&key, allowed);
    let least = algorithms.iter().copied().map(least_secret_bytes).max().unwrap_or(32);
    if secret.len() < least {
        let allowed =
            format!("a secret of at least {least} bytes for what auth.algorithms allows, not {}", secret.len());
        return Err(SettingsError::invalid(setting, shown, allowed));
    }
    if algorithms.is_empty() {
        return Err(no_use(setting, shown, &key));
    }
    Ok(Key { id: None, origin: setting, algorithms, key })
}

fn no_use(setting: &str, shown: &str, key: &DecodingKey) -> SettingsError {
    let family: Vec<String> = key.family().algorithms().iter().map(|algorithm| format!("{algorithm:?}")).collect();
    let allowed =
        format!("a key that auth.algorithms allows the use of; this one needs one of {} there", family.join(", "));
    SettingsError::invalid(setting, shown, allowed)
}

/// The allowed algorithms that the key can verify: of its own family, and for EC of its own curve.
fn usable(key: &DecodingKey, allowed: &[Algorithm]) -> Vec<Algorithm> {
    let own_family = allowed.iter().copied().filter(|algorithm| algorithm.family() == key.family());
    own_family.filter(|algorithm| jsonwebtoken::crypto::verify("", b"", key, *algorithm).is_ok()).collect()
}

/// Whether the key has a form that the verifier can work with; a shorter Ed25519 key would make it panic.
fn is_sound(key: &DecodingKey) -> bool {
    use jsonwebtoken::AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
    match (key.family(), key.kind()) {
        (Rsa, DecodingKeyKind::SecretOrDer(der)) => RSA_DER_BYTES.contains(&der.len()),
        (Rsa, DecodingKeyKind::RsaModulusExponent { n, .. }) => RSA_MODULUS_BYTES.contains(&n.len()),
        (Ec, DecodingKeyKind::SecretOrDer(point)) => [65, 97].contains(&point.len()),
        (Ed, DecodingKeyKind::SecretOrDer(point)) => point.len() == 32,
        (Hmac, _) => true,
        (Ec | Ed, DecodingKeyKind::RsaModulusExponent { .. }) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::token::tests::settings, *};

    fn refused(change: impl FnOnce(&mut AuthSettings)) -> String {
        let mut settings = settings(&["RS256"]);
        settings.public_key_file = "tests/keys/rsa.public.pem".to_owned();
        change(&mut settings);
        load_keys(&settings).unwrap_err().to_string()
    }

    #[test]
    fn no_key_is_refused_and_every_setting_that_could_hold_one_is_named() {
        let said = refused(|settings| settings.public_key_file.clear());
        for setting in ["auth.public_key_file", "auth.jwks_file", "auth.hmac_secret_file", "auth.hmac_secret"] {
            assert!(said.contains(setting), "{said}");
        }
    }

    #[test]
    fn a_key_that_no_allowed_algorithm_can_use_is_refused() {
        let said = refused(|settings| settings.public_key_file = "tests/keys/ec.public.pem".to_owned());
        assert!(said.contains("this one needs one of ES256, ES384 there"), "{said}");
        let said = refused(|settings| settings.hmac_secret_file = "config.default.toml".to_owned());
        assert!(said.contains("auth.hmac_secret_file") && said.contains("HS256"), "{said}");
    }

    #[test]
    fn an_allowed_algorithm_without_a_key_is_refused() {
        let said =
            refused(|settings| settings.algorithms = vec!["RS256".to_owned(), "ES256".to_owned(), "EdDSA".to_owned()]);
        assert!(said.contains("none verifies ES256, EdDSA"), "{said}");
        // A P-256 key is of the family of ES384, and of no use to it.
        let said = refused(|settings| {
            settings.algorithms = vec!["ES256".to_owned(), "ES384".to_owned()];
            settings.public_key_file = "tests/keys/ec.public.pem".to_owned();
        });
        assert!(said.contains("none verifies ES384"), "{said}");
    }

    #[test]
    fn what_is_no_sound_public_key_is_refused() {
        for file in ["tests/keys/rsa.private.pem", "tests/keys/weak.public.pem", "Cargo.toml"] {
            let said = refused(|settings| settings.public_key_file = file.to_owned());
            assert!(said.contains(file) && said.contains("a PEM file with one public key"), "{said}");
        }
        let said = refused(|settings| settings.public_key_file = "tests/keys/absent.pem".to_owned());
        assert!(said.contains("a readable file (No such file"), "{said}");
        let said = refused(|settings| settings.jwks_file = "Cargo.toml".to_owned());
        assert!(said.contains("auth.jwks_file") && said.contains("a JWK Set"), "{said}");
        let said = refused(|settings| settings.hmac_secret = coupon_core::runtime::Secret::new("short"));
        assert!(said.contains("at least 32 bytes") && said.contains("not 5") && !said.contains("`short`"), "{said}");
        let said = refused(|settings| {
            settings.algorithms = vec!["RS256".to_owned(), "HS256".to_owned(), "HS512".to_owned()];
            settings.hmac_secret = coupon_core::runtime::Secret::new("x".repeat(63));
        });
        assert!(said.contains("at least 64 bytes"), "{said}");
    }
}
