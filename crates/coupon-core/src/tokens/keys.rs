//! Verification keys, each tied to the algorithms it may be used with.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{Jwk, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

use super::settings::Allowed;
use crate::runtime::Escaped;

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

/// Bytes of a point of each curve, uncompressed.
const P256_POINT_BYTES: usize = 65;
const P384_POINT_BYTES: usize = 97;

/// A key and what it may verify.
#[derive(Clone, Debug)]
pub struct Key {
    /// The `kid` of a JWK.
    pub id: Option<String>,
    /// The setting it comes from.
    pub origin: String,
    /// Allowed algorithms of its own family, and no other: a public key must never pass for an HMAC secret.
    pub algorithms: Vec<Algorithm>,
    pub(super) key: DecodingKey,
}

impl Key {
    /// Where it comes from, and its `kid`, for whoever operates the service.
    pub fn name(&self) -> String {
        match &self.id {
            Some(id) => format!("`{}` of {}", Escaped(id), self.origin),
            None => format!("one of {}", self.origin),
        }
    }

    /// Whether it may verify tokens of this algorithm.
    pub fn can_verify(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }
}

/// Wherever it comes from.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        use DecodingKeyKind::{RsaModulusExponent, SecretOrDer};
        let is_same = match (self.key.kind(), other.key.kind()) {
            (SecretOrDer(a), SecretOrDer(b)) => a == b,
            (RsaModulusExponent { n: a, e: x }, RsaModulusExponent { n: b, e: y }) => a == b && x == y,
            _ => false,
        };
        is_same && (&self.id, &self.algorithms) == (&other.id, &other.algorithms)
    }
}

/// The one public key of a PEM file, or what the file must be.
pub(super) fn from_pem(pem: &[u8], origin: &str, allowed: &Allowed) -> Result<Key, String> {
    let text = String::from_utf8_lossy(pem);
    // The parser takes private keys and certificates too, and finds something else in them.
    let is_public =
        ["-----BEGIN PUBLIC KEY-----", "-----BEGIN RSA PUBLIC KEY-----"].iter().any(|head| text.contains(head));
    let key = [DecodingKey::from_rsa_pem, DecodingKey::from_ec_pem, DecodingKey::from_ed_pem]
        .iter()
        .find_map(|parse| parse(pem).ok())
        .filter(|key| is_public && is_sound(key));
    let Some(key) = key else {
        return Err(
            "a PEM file with one public key: RSA of 2048 to 4096 bits, EC P-256 or P-384, or Ed25519".to_owned()
        );
    };
    let algorithms = usable(&key, allowed);
    if algorithms.is_empty() {
        Err(no_use(&key, allowed))
    } else {
        Ok(Key { id: None, origin: origin.to_owned(), algorithms, key })
    }
}

/// The keys of a JWK Set that serve an allowed algorithm, at least one; or what the set must be.
pub(super) fn from_jwks(json: &[u8], origin: &str, allowed: &Allowed) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let Set { keys } = serde_json::from_slice(json).map_err(|error| format!("a JWK Set ({error})"))?;
    if keys.iter().any(|jwk| jwk["kty"] == "oct") {
        return Err(format!("a set of public keys: a shared secret goes into {}.hmac_secret_file", allowed.section));
    }
    // A key of a kind that is unknown here is no reason to lose the others.
    let readable = keys.into_iter().filter_map(|jwk| serde_json::from_value(jwk).ok());
    let keys: Vec<Key> = readable.filter_map(|jwk| from_jwk(&jwk, origin, allowed)).collect();
    if keys.is_empty() {
        Err(format!("a JWK Set with a key for one of {}.algorithms", allowed.section))
    } else {
        Ok(keys)
    }
}

/// A key of a set; `None` when it is for something else, as an issuer's set may hold keys for other purposes.
fn from_jwk(jwk: &Jwk, origin: &str, allowed: &Allowed) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let key = DecodingKey::from_jwk(jwk).ok().filter(is_sound)?;
    let named = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    let mut algorithms = usable(&key, allowed);
    algorithms.retain(|algorithm| named.as_ref().is_none_or(|named| *named == format!("{algorithm:?}")));
    (!algorithms.is_empty()).then(|| Key { id: jwk.common.key_id.clone(), origin: origin.to_owned(), algorithms, key })
}

/// The key of a shared secret, or what the secret must be.
pub(super) fn from_secret(secret: &[u8], origin: &str, allowed: &Allowed) -> Result<Key, String> {
    let key = DecodingKey::from_secret(secret);
    let algorithms = usable(&key, allowed);
    let least = algorithms.iter().copied().map(least_secret_bytes).max().unwrap_or(32);
    if secret.len() < least {
        return Err(format!(
            "a secret of at least {least} bytes for what {}.algorithms allows, not {}",
            allowed.section,
            secret.len()
        ));
    }
    if algorithms.is_empty() {
        Err(no_use(&key, allowed))
    } else {
        Ok(Key { id: None, origin: origin.to_owned(), algorithms, key })
    }
}

fn no_use(key: &DecodingKey, allowed: &Allowed) -> String {
    let family: Vec<String> = key.family().algorithms().iter().map(|algorithm| format!("{algorithm:?}")).collect();
    format!(
        "a key that {}.algorithms allows the use of; this one needs one of {} there",
        allowed.section,
        family.join(", ")
    )
}

/// The allowed algorithms that the key can verify: of its own family, and for EC of its own curve.
fn usable(key: &DecodingKey, allowed: &Allowed) -> Vec<Algorithm> {
    let is_of_curve = |algorithm: &Algorithm| match (algorithm, key.kind()) {
        // The verifier does not say that a curve is the wrong one, only that no signature fits.
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => point.len() == P256_POINT_BYTES,
        (Algorithm::ES384, DecodingKeyKind::SecretOrDer(point)) => point.len() == P384_POINT_BYTES,
        _ => true,
    };
    let own_family = allowed.algorithms.iter().copied().filter(|algorithm| algorithm.family() == key.family());
    own_family.filter(is_of_curve).collect()
}

/// Whether the key has a form that the verifier can work with; a shorter Ed25519 key would make it panic.
fn is_sound(key: &DecodingKey) -> bool {
    use jsonwebtoken::AlgorithmFamily::{Ec, Ed, Hmac, Rsa};
    match (key.family(), key.kind()) {
        (Rsa, DecodingKeyKind::SecretOrDer(der)) => RSA_DER_BYTES.contains(&der.len()),
        (Rsa, DecodingKeyKind::RsaModulusExponent { n, .. }) => RSA_MODULUS_BYTES.contains(&n.len()),
        (Ec, DecodingKeyKind::SecretOrDer(point)) => [P256_POINT_BYTES, P384_POINT_BYTES].contains(&point.len()),
        (Ed, DecodingKeyKind::SecretOrDer(point)) => point.len() == 32,
        (Hmac, _) => true,
        (Ec | Ed, DecodingKeyKind::RsaModulusExponent { .. }) => false,
    }
}
