//! `coupon-issued`: the one event of the pipeline. Anybody may have written a record, so every field is checked.

use serde::{Deserialize, Serialize};

use crate::{
    failure::{Class, Classified},
    ids::{CouponCode, MemberId, RequestId},
};

/// The format this build writes, and the newest it understands.
pub const VERSION: u64 = 1;

/// Largest value that is decoded, in bytes. An event takes about 250.
pub const MAX_BYTES: usize = 64 * 1024;

/// Bytes of an encoded event, about.
const TYPICAL_BYTES: usize = 256;

/// Latest valid reservation time, in ms since 1970 (year 9999); later ones do not fit a timestamp.
const MAX_RESERVED_AT_MS: i64 = 253_402_300_799_000;

/// Largest valid epoch and sequence: what Redis's scripts count exactly (2^53 − 1).
const MAX_COUNT: i64 = (1 << 53) - 1;

/// A coupon was reserved for a member and is now to be written to PostgreSQL.
///
/// Fields are only ever added. Kafka key: the member id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CouponIssued {
    /// Format of the event, see [`VERSION`].
    pub version: u64,
    /// The reservation.
    pub request_id: RequestId,
    /// The campaign.
    pub coupon_code: CouponCode,
    /// The member that holds the coupon.
    pub member_id: MemberId,
    /// When Redis reserved it, in ms since 1970-01-01 UTC by the clock of Redis.
    pub reserved_at: i64,
    /// Generation of the Redis data it was reserved in.
    pub epoch: i64,
    /// Sequence of the coupon at the reservation, or later when the relay published it.
    pub seq: i64,
    /// Trace context of its record, if the trace is sampled; no part of the value.
    #[serde(skip)]
    pub traceparent: Option<Box<str>>,
}

/// Why bytes are not an event this build can act on.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A tombstone.
    #[error("the record has no value")]
    Empty,
    /// Larger than [`MAX_BYTES`].
    #[error("the value has {0} bytes, an event at most {MAX_BYTES}")]
    Oversized(usize),
    /// Not JSON, or not these fields.
    #[error("the value is no coupon-issued event")]
    Json(#[source] serde_json::Error),
    /// A field holds what no issuer-api writes.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// Written by a newer build: to be held until this one is upgraded, not thrown away.
    #[error("the event has version {0}, this build reads up to {VERSION}")]
    Newer(u64),
}

impl CouponIssued {
    /// The event as it goes to Kafka.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(TYPICAL_BYTES);
        serde_json::to_writer(&mut bytes, self).expect("a struct of texts and integers always serialises");
        bytes
    }

    /// Reads an event of any version up to `supported` (a caller's [`VERSION`]).
    ///
    /// The version counts before anything else, so that a newer event with fields unknown here is
    /// [`DecodeError::Newer`] and not malformed.
    pub fn decode(value: Option<&[u8]>, supported: u64) -> Result<Self, DecodeError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let bytes = value.ok_or(DecodeError::Empty)?;
        if bytes.len() > MAX_BYTES {
            return Err(DecodeError::Oversized(bytes.len()));
        }
        match serde_json::from_slice::<Self>(bytes) {
            Ok(event) if event.version <= supported => {
                event.check()?;
                Ok(event)
            }
            Ok(event) => Err(DecodeError::Newer(event.version)),
            Err(error) => match serde_json::from_slice(bytes).map_err(DecodeError::Json)? {
                Versioned { version } if version > supported => Err(DecodeError::Newer(version)),
                Versioned { .. } => Err(DecodeError::Json(error)),
            },
        }
    }

    fn check(&self) -> Result<(), DecodeError> {
        let checks = [
            ("version", self.version >= 1),
            ("reserved_at", (1..=MAX_RESERVED_AT_MS).contains(&self.reserved_at)),
            ("epoch", (1..=MAX_COUNT).contains(&self.epoch)),
            ("seq", (1..=MAX_COUNT).contains(&self.seq)),
        ];
        match checks.into_iter().find(|(_, holds)| !holds) {
            Some((field, _)) => Err(DecodeError::OutOfRange(field)),
            None => Ok(()),
        }
    }
}

impl Classified for DecodeError {
    fn class(&self) -> Class {
        Class::Malformed
    }

    fn code(&self) -> String {
        match self {
            Self::Newer(_) => "NEWER_VERSION",
            _ => "UNDECODABLE",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> CouponIssued {
        CouponIssued {
            version: VERSION,
            request_id: "018f3f5e-7b1a-7000-8000-000000000001".parse().unwrap(),
            coupon_code: "SPRING".parse().unwrap(),
            member_id: "10".parse().unwrap(),
            reserved_at: 1_760_000_000_000,
            epoch: 1,
            seq: 7,
            traceparent: None,
        }
    }

    fn with(field: &str, value: serde_json::Value) -> Vec<u8> {
        let mut json = serde_json::to_value(event()).unwrap();
        json[field] = value;
        serde_json::to_vec(&json).unwrap()
    }

    fn decode(bytes: &[u8]) -> Result<CouponIssued, DecodeError> {
        CouponIssued::decode(Some(bytes), VERSION)
    }

    #[test]
    fn what_is_encoded_is_decoded_and_unknown_fields_are_no_error() {
        assert_eq!(decode(&event().encode()).unwrap(), event());
        assert_eq!(decode(&with("added_later", serde_json::json!({"x": [1]}))).unwrap(), event());
    }

    #[test]
    fn a_newer_version_is_told_from_a_malformed_event_whatever_else_it_holds() {
        assert!(matches!(decode(br#"{"version":2,"all":"new"}"#), Err(DecodeError::Newer(2))));
        let newer = with("version", serde_json::json!(2));
        assert!(CouponIssued::decode(Some(&newer), 2).is_ok(), "an upgraded build reads it");
    }

    #[test]
    fn what_no_issuer_api_writes_is_malformed() {
        let deep = "[".repeat(100_000);
        for bytes in [
            &b""[..],
            b"null",
            b"{}",
            b"\xff\xfe",
            deep.as_bytes(),
            br#"{"version":-1}"#,
            br#"{"version":1,"version":1}"#,
        ] {
            assert!(matches!(decode(bytes), Err(DecodeError::Json(_) | DecodeError::Oversized(_))), "{bytes:?}");
        }
        for (field, value) in [
            ("version", serde_json::json!(0)),
            ("epoch", serde_json::json!(0)),
            ("seq", serde_json::json!(-1)),
            ("seq", serde_json::json!(i64::MAX)),
            ("epoch", serde_json::json!(1_i64 << 53)),
            ("reserved_at", serde_json::json!(i64::MAX)),
        ] {
            assert!(matches!(decode(&with(field, value)), Err(DecodeError::OutOfRange(name)) if name == field));
        }
        for (field, value) in [
            ("member_id", serde_json::json!("a\u{0}")),
            ("coupon_code", serde_json::json!("a}b")),
            ("epoch", serde_json::json!(1.5e300)),
        ] {
            assert!(matches!(decode(&with(field, value)), Err(DecodeError::Json(_))), "{field}");
        }
        assert!(matches!(CouponIssued::decode(None, VERSION), Err(DecodeError::Empty)));
        assert!(matches!(decode(&vec![b' '; 1 << 20]), Err(DecodeError::Oversized(_))));
    }

    /// Any JSON, some of it deep, some of it with numbers that fit nothing.
    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            any::<i64>().prop_map(|value| value.to_string()),
            any::<u64>().prop_map(|value| value.to_string()),
            "-?[1-9][0-9]{0,400}(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
            ".{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            (0usize..300).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                proptest::collection::vec(("[a-z]{1,8}", inner), 0..4).prop_map(|fields| {
                    let fields: Vec<String> =
                        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                    format!("{{{}}}", fields.join(","))
                }),
            ]
        })
    }

    proptest! {
        /// Whatever a foreign producer puts into the fields, twice or not at all: an event that is believed has all of
        /// them in range, and is the same when it is written and read again.
        #[test]
        fn what_is_believed_of_a_foreign_event_is_in_range(
            changes in proptest::collection::vec((0usize..9, any_json()), 0..4),
            left_out in proptest::option::of(0usize..7),
        ) {
            let good = serde_json::to_value(event()).unwrap();
            let names = ["version", "request_id", "coupon_code", "member_id", "reserved_at", "epoch", "seq", "extra", "seq "];
            let kept = names[..7].iter().enumerate().filter(|(index, _)| Some(*index) != left_out);
            let mut fields: Vec<String> = kept.map(|(_, name)| format!("\"{name}\":{}", good[*name])).collect();
            for (index, value) in changes {
                let name = names[index];
                match fields.iter_mut().find(|field| field.starts_with(&format!("\"{name}\":"))) {
                    Some(field) if value.len() % 3 > 0 => *field = format!("\"{name}\":{value}"),
                    // Otherwise it is there twice.
                    _ => fields.push(format!("\"{name}\":{value}")),
                }
            }
            let bytes = format!("{{{}}}", fields.join(",")).into_bytes();
            if let Ok(event) = decode(&bytes) {
                prop_assert!(event.version == 1 && event.epoch >= 1 && event.seq >= 1 && event.reserved_at >= 1);
                prop_assert!(event.seq <= MAX_COUNT && event.epoch <= MAX_COUNT && event.reserved_at <= MAX_RESERVED_AT_MS);
                prop_assert_eq!(decode(&event.encode()).unwrap(), event);
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes);
        }
    }
}
