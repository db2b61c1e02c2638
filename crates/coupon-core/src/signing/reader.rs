//! From bytes to an event that may be acted on: verified, then decoded.

use std::sync::Arc;

use super::{SignatureError, SigningKey, codes, verify};
use crate::{
    event::{CouponIssued, DecodeError, MAX_BYTES, VERSION},
    failure::{Class, Classified},
};

/// Reads events, from records and from rows of dead letters. All bytes that may become a decision come through here.
///
/// Without keys nothing is verified, as long as no other process has refused the event. Clones share the keys.
#[derive(Clone, Default)]
pub struct EventReader {
    keys: Arc<[SigningKey]>,
    accepts_unsigned: bool,
}

/// Why bytes are no event that may be acted on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not signed by us.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Signed, or not to be verified, and not decodable.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl EventReader {
    /// A reader with these keys; `accepts_unsigned` is for the time in which some issuer-api does not sign yet.
    pub fn new(keys: Vec<SigningKey>, accepts_unsigned: bool) -> Self {
        Self { keys: keys.into(), accepts_unsigned }
    }

    /// Reads an event of any version up to `supported` from the value of a record and its header [`HEADER`](super::HEADER).
    /// The signature comes first: of a forged event not even the version is believed.
    pub fn read(
        &self,
        value: Option<&[u8]>,
        signature: Option<&[u8]>,
        supported: u64,
    ) -> Result<CouponIssued, ReadError> {
        // Bytes that are no event in any case are not hashed.
        if let Some(bytes) = value.filter(|bytes| self.has_keys() && bytes.len() <= MAX_BYTES) {
            match verify(&self.keys, bytes, signature) {
                Err(SignatureError::Unsigned) if self.accepts_unsigned => {}
                verified => verified?,
            }
        }
        Ok(CouponIssued::decode(value, supported)?)
    }

    /// Reads the event of a record that was consumed, and counts what is not signed by us.
    pub fn read_consumed(&self, value: Option<&[u8]>, signature: Option<&[u8]>) -> Result<CouponIssued, ReadError> {
        let read = self.read(value, signature, VERSION);
        if self.has_keys() && signature.is_none() {
            metrics::counter!("coupon_events_unsigned_total").increment(1);
        } else if matches!(read, Err(ReadError::Signature(_))) {
            metrics::counter!("coupon_events_forged_total").increment(1);
        }
        read
    }

    /// Checks the code with which another process has refused an event: without keys it stays refused, whatever this process
    /// would make of it.
    pub fn check_refused_before(&self, code: &str) -> Result<(), SignatureError> {
        match codes::ALL.into_iter().find(|refused| *refused == code) {
            Some(refused) if !self.has_keys() => Err(SignatureError::NoKeys(refused)),
            _ => Ok(()),
        }
    }

    /// The codes of dead letters that this process will refuse again, whatever they hold. A key that was unknown may be known
    /// by now, so [`codes::UNKNOWN_KEY`] is among them only where there are no keys.
    pub fn refused_codes(&self) -> &'static [&'static str] {
        match (self.has_keys(), self.accepts_unsigned) {
            (false, _) => &codes::ALL,
            (true, false) => &[codes::UNSIGNED, codes::FORGED],
            (true, true) => &[codes::FORGED],
        }
    }

    /// Whether events are verified.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Logs by which keys events are verified, and makes the counters begin at zero. To be called after
    /// [`Service::start`](crate::runtime::Service::start), which installs both.
    pub fn announce(&self) {
        for counter in ["coupon_events_unsigned_total", "coupon_events_forged_total"] {
            metrics::counter!(counter).increment(0);
        }
        tracing::info!("events are {self}");
    }
}

/// What happens to events, after "events are".
impl std::fmt::Display for EventReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&str> = self.keys.iter().map(SigningKey::id).collect();
        match (keys.as_slice(), self.accepts_unsigned) {
            ([], _) => f.write_str("not verified: events.signing_key_files is empty"),
            (keys, false) => write!(f, "verified by the keys {}, unsigned ones are parked", keys.join(" ")),
            (keys, true) => write!(
                f,
                "verified by the keys {}, unsigned ones are accepted: events.require_signature is false",
                keys.join(" ")
            ),
        }
    }
}

impl Classified for ReadError {
    fn class(&self) -> Class {
        match self {
            Self::Signature(error) => error.class(),
            Self::Decode(error) => error.class(),
        }
    }

    fn code(&self) -> String {
        match self {
            Self::Signature(error) => error.code(),
            Self::Decode(error) => error.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &[u8] = br#"{"version":1,"request_id":"018f3f5e-7b1a-7000-8000-000000000001","coupon_code":"SPRING","member_id":"10","reserved_at":1760000000000,"epoch":1,"seq":7}"#;
    const NEWER: &[u8] = br#"{"version":2,"all":"new"}"#;

    fn code_of(read: Result<CouponIssued, ReadError>) -> String {
        read.map_or_else(|error| error.code(), |_| "READ".to_owned())
    }

    #[test]
    fn a_signature_is_verified_before_anything_is_read_and_only_with_keys() {
        let key = SigningKey::new(&[7; 32]);
        let signed = |value| Some(key.sign(value).into_bytes());
        let strict = EventReader::new(vec![key.clone()], false);
        let lenient = EventReader::new(vec![key.clone()], true);
        let large = vec![b' '; MAX_BYTES + 1];
        for (value, signature, by_strict, by_lenient, without_keys) in [
            (Some(EVENT), signed(EVENT), "READ", "READ", "READ"),
            (Some(EVENT), None, "EVENT_UNSIGNED", "READ", "READ"),
            (Some(EVENT), signed(NEWER), "EVENT_FORGED", "EVENT_FORGED", "READ"),
            (Some(EVENT), Some(b"rubbish".to_vec()), "EVENT_FORGED", "EVENT_FORGED", "READ"),
            (
                Some(EVENT),
                Some(SigningKey::new(&[8; 32]).sign(EVENT).into_bytes()),
                "EVENT_UNKNOWN_KEY",
                "EVENT_UNKNOWN_KEY",
                "READ",
            ),
            (Some(NEWER), signed(NEWER), "NEWER_VERSION", "NEWER_VERSION", "NEWER_VERSION"),
            // A forged event must not be held for a newer build, which would decide it.
            (Some(NEWER), None, "EVENT_UNSIGNED", "NEWER_VERSION", "NEWER_VERSION"),
            (Some(b"no event"), None, "EVENT_UNSIGNED", "UNDECODABLE", "UNDECODABLE"),
            (Some(&large), None, "UNDECODABLE", "UNDECODABLE", "UNDECODABLE"),
            (None, None, "UNDECODABLE", "UNDECODABLE", "UNDECODABLE"),
        ] {
            for (reader, expected) in
                [(&strict, by_strict), (&lenient, by_lenient), (&EventReader::default(), without_keys)]
            {
                assert_eq!(code_of(reader.read(value, signature.as_deref(), VERSION)), expected, "{reader} {value:?}");
            }
        }
    }

    #[test]
    fn what_others_refused_stays_refused_where_there_are_no_keys() {
        let (without, with) = (EventReader::default(), EventReader::new(vec![SigningKey::new(&[7; 32])], false));
        for code in codes::ALL {
            assert_eq!(without.check_refused_before(code).map_err(|error| error.code()), Err(code.to_owned()));
            assert_eq!(with.check_refused_before(code), Ok(()), "it verifies by itself");
        }
        assert_eq!(without.check_refused_before("UNDECODABLE"), Ok(()));
    }
}
