//! Signatures of events. Without them, whoever may write to `coupon-issued` can give coupons away.
//!
//! `issuer-api` signs each event that it publishes, at once or by its relay: HMAC-SHA256 over the value, in the header
//! [`HEADER`] as `v1;<key id>;<MAC in Base64url>`. A dead letter keeps the header of its record. Consumers that have keys
//! verify it before they read anything from the value ([`EventReader`]).
//!
//! The MAC covers the value, byte for byte, and nothing else. All that a consumer acts on is in the value: request id, coupon,
//! member, time of the reservation, epoch, sequence. The rest of a record decides nothing: its
//! timestamp goes into figures, its other headers are shown to operators. Topic, partition and offset are others once a record
//! is dead-lettered, and it must still verify then. So a signed record that somebody copies is valid again, which changes
//! nothing: it has the same request id, and a request is decided once. It also means that a key belongs to one installation:
//! with a key of staging, production would believe the events of staging.

mod reader;
mod settings;

use aws_lc_rs::{digest, hmac};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{
    failure::{Class, Classified},
    runtime::hex,
};

pub use reader::{EventReader, ReadError};
pub use settings::{SigningSettings, VerificationSettings};

/// Header with the signature.
pub const HEADER: &str = "x-coupon-signature";
/// Least length of a key, in bytes: the length of the MAC (RFC 2104, section 3).
pub const MIN_KEY_BYTES: usize = 32;

/// What a signature begins with: the version of its format.
const FORMAT: &str = "v1;";
/// Digits of a key id.
const ID_DIGITS: usize = 8;
/// Length of a signature, in bytes: the format, the key id, a semicolon, 32 bytes in Base64.
const SIGNATURE_BYTES: usize = FORMAT.len() + ID_DIGITS + 1 + 43;

/// Error codes of events that were not verified.
pub mod codes {
    /// No signature.
    pub const UNSIGNED: &str = "EVENT_UNSIGNED";
    /// A signature that is none of ours.
    pub const FORGED: &str = "EVENT_FORGED";
    /// A signature by a key that is not known here.
    pub const UNKNOWN_KEY: &str = "EVENT_UNKNOWN_KEY";
    /// All of them.
    pub const ALL: [&str; 3] = [UNSIGNED, FORGED, UNKNOWN_KEY];
}

/// A key that signs and verifies.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    key: hmac::Key,
}

/// Why an event is not believed to be of our issuer-api.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No signature.
    #[error("the event is not signed: no issuer-api that has a key wrote it")]
    Unsigned,
    /// Not in the format of a signature.
    #[error("the header {HEADER} of the event is no signature")]
    Unreadable,
    /// Signed by another key.
    #[error("the event is signed by the key \"{0}\", which is not among events.signing_key_files")]
    UnknownKey(String),
    /// Another value was signed, or by somebody without the key.
    #[error("the event is not what the key \"{0}\" has signed")]
    Forged(String),
    /// Another process has refused it with this code, and this one has no key to verify it with.
    #[error("the event was refused with {0}, and without events.signing_key_files it cannot be verified here")]
    NoKeys(&'static str),
}

impl SigningKey {
    /// A key of these bytes, at least [`MIN_KEY_BYTES`] of them. Its id is the beginning of their SHA-256, so keys need no
    /// names.
    pub fn new(secret: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, secret);
        let id = hex(&hash.as_ref()[..ID_DIGITS / 2]);
        Self { id, key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// The id: 8 hexadecimal digits, no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Signs a value; returns the value of [`HEADER`].
    pub fn sign(&self, value: &[u8]) -> String {
        let mut signature = String::with_capacity(SIGNATURE_BYTES);
        for part in [FORMAT, &self.id, ";"] {
            signature.push_str(part);
        }
        URL_SAFE_NO_PAD.encode_string(hmac::sign(&self.key, value), &mut signature);
        signature
    }
}

/// Verifies that one of the keys has signed the value.
pub fn verify(keys: &[SigningKey], value: &[u8], signature: Option<&[u8]>) -> Result<(), SignatureError> {
    let (id, mac) = parse(signature.ok_or(SignatureError::Unsigned)?).ok_or(SignatureError::Unreadable)?;
    let key = keys.iter().find(|key| key.id == id).ok_or_else(|| SignatureError::UnknownKey(id.to_owned()))?;
    // It compares in constant time.
    hmac::verify(&key.key, value, &mac).map_err(|_| SignatureError::Forged(id.to_owned()))
}

/// Key id and MAC of a signature; `None` when it is not in the format.
fn parse(signature: &[u8]) -> Option<(&str, [u8; 32])> {
    let (id, mac) = signature.strip_prefix(FORMAT.as_bytes())?.split_at_checked(ID_DIGITS)?;
    let id = std::str::from_utf8(id).ok().filter(|id| id.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    // Larger than a MAC, so that a longer one is refused and not cut.
    let mut bytes = [0; 36];
    let length = URL_SAFE_NO_PAD.decode_slice(mac.strip_prefix(b";")?, &mut bytes).ok()?;
    Some((id, bytes[..length].try_into().ok()?))
}

impl SignatureError {
    /// The error code.
    fn word(&self) -> &'static str {
        match self {
            Self::Unsigned => codes::UNSIGNED,
            Self::Unreadable | Self::Forged(_) => codes::FORGED,
            Self::UnknownKey(_) => codes::UNKNOWN_KEY,
            Self::NoKeys(code) => code,
        }
    }
}

impl Classified for SignatureError {
    fn class(&self) -> Class {
        Class::Malformed
    }

    fn code(&self) -> String {
        self.word().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> [SigningKey; 2] {
        [SigningKey::new(&[1; 32]), SigningKey::new(b"another secret of more than 32 bytes, as text")]
    }

    /// `printf VALUE | openssl dgst -sha256 -hmac KEY -binary | basenc --base64url`, so that others can verify it too.
    #[test]
    fn a_signature_is_hmac_sha256_over_the_value_with_the_id_of_the_key() {
        let key = SigningKey::new(b"0123456789abcdef0123456789abcdef");
        assert_eq!(key.sign(br#"{"version":1}"#), "v1;3eb1bd43;PS4QMMNNBXH__o6R2h5dGTLZncEm7e7VunCXICdPngg");
        assert_eq!(key.sign(b"").len(), SIGNATURE_BYTES);
    }

    #[test]
    fn each_of_the_keys_verifies_what_it_has_signed_and_no_other_value() {
        let keys = keys();
        for key in &keys {
            let signature = key.sign(b"value");
            assert_eq!(verify(&keys, b"value", Some(signature.as_bytes())), Ok(()));
            let forged = Err(SignatureError::Forged(key.id().to_owned()));
            assert_eq!(verify(&keys, b"valuf", Some(signature.as_bytes())), forged);
            assert_eq!(verify(&keys, b"", Some(signature.as_bytes())), forged);
        }
        let unknown = verify(&keys[..1], b"value", Some(keys[1].sign(b"value").as_bytes()));
        assert_eq!(unknown, Err(SignatureError::UnknownKey(keys[1].id().to_owned())));
        // The id of one key and the MAC of the other.
        let swapped = keys[1].sign(b"value").replace(keys[1].id(), keys[0].id());
        assert!(matches!(verify(&keys, b"value", Some(swapped.as_bytes())), Err(SignatureError::Forged(_))));
    }

    #[test]
    fn what_is_no_signature_is_refused() {
        let keys = keys();
        assert_eq!(verify(&keys, b"value", None), Err(SignatureError::Unsigned));
        let good = keys[0].sign(b"value");
        let cut = &good[..good.len() - 1];
        let other = good.replacen("v1", "v2", 1);
        for bad in [
            "",
            "v1;",
            "v1;;",
            "v1;0123456;",
            "v1;\u{e9}123456;AA",
            cut,
            &format!("{good}A"),
            &format!("{good}="),
            &other,
        ] {
            assert_eq!(verify(&keys, b"value", Some(bad.as_bytes())), Err(SignatureError::Unreadable), "{bad}");
        }
        assert_eq!(
            verify(&keys, b"value", Some(b"v1;\xff\xff\xff\xff\xff\xff\xff\xff;AA")),
            Err(SignatureError::Unreadable)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_verify_that_were_not_signed(signature in proptest::collection::vec(any::<u8>(), 0..80), tail in "[A-Za-z0-9_-]{40,46}") {
            let keys = keys();
            prop_assert!(verify(&keys, b"value", Some(&signature)).is_err());
            let guessed = format!("v1;{};{tail}", keys[0].id());
            prop_assert!(verify(&keys, b"value", Some(guessed.as_bytes())).is_err());
        }
    }
}
