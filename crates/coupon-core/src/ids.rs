//! The ids of campaigns, members and requests.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::Clock;

/// Public name of a campaign: 1 to 50 characters of `A-Z a-z 0-9 _ -`.
///
/// The alphabet keeps it safe as a path segment, as a Redis hash tag and in a log line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct CouponCode(String);

/// Who asks for a coupon, as the verified token names them: 1 to 255 bytes of UTF-8, without control characters and without
/// what makes a text read otherwise than it is written (line and paragraph separators, marks of direction).
///
/// Two ids are one member only if their bytes are the same. `Debug` shows the first two characters only, because members do not belong into logs.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct MemberId(String);

/// One reservation, and everything that follows from it: a `UUIDv7`, so ids sort by the time they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Uuid);

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Not a [`CouponCode`].
    #[error("a coupon code is 1 to 50 characters of A-Z a-z 0-9 _ -")]
    CouponCode,
    /// Not a [`MemberId`].
    #[error("a member id is 1 to 255 bytes of UTF-8 without control characters")]
    MemberId,
    /// Not a [`RequestId`].
    #[error("a request id is a UUID")]
    RequestId,
}

impl CouponCode {
    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Longest member id, in bytes: what OpenID Connect allows a `sub`, in characters of ASCII.
const MAX_MEMBER_BYTES: usize = 255;

impl MemberId {
    /// The member as text. For stores and answers; logs take `Debug`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The member with all but its first two characters hidden.
    pub fn masked(&self) -> String {
        let first: String = self.0.chars().take(2).collect();
        format!("{first}***")
    }
}

impl RequestId {
    /// Makes a new id. The one place where request ids are made.
    pub fn make(clock: &dyn Clock) -> Self {
        let ms = u64::try_from(clock.now().timestamp_millis()).unwrap_or(0);
        // From the generator of the thread: `Uuid::new_v7` asks the kernel for each id.
        let random: [u8; 10] = rand::random();
        Self(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
    }

    /// The id as the databases hold it.
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl FromStr for CouponCode {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=50).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::CouponCode)
        }
    }
}

impl FromStr for MemberId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if (1..=MAX_MEMBER_BYTES).contains(&text.len()) && !text.contains(misleads) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::MemberId)
        }
    }
}

/// Whether a character steers what shows it: control characters, separators of lines, marks of direction.
fn misleads(character: char) -> bool {
    // One comparison for all of ASCII that may stand there.
    !(' '..='~').contains(&character)
        && (character.is_control()
            || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

impl FromStr for RequestId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidId::RequestId)
    }
}

impl From<Uuid> for RequestId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl TryFrom<String> for CouponCode {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl TryFrom<String> for MemberId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for CouponCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({})", self.masked())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coupon_code_is_safe_wherever_it_is_put() {
        for good in ["A", "spring_2026-b", &"x".repeat(50)] {
            assert!(good.parse::<CouponCode>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a}b", "a/b", "ü", "a\n", &"x".repeat(51)] {
            assert_eq!(bad.parse::<CouponCode>(), Err(InvalidId::CouponCode), "{bad:?}");
        }
    }

    #[test]
    fn a_request_id_is_a_version_7_uuid_of_its_time_and_no_two_are_alike() {
        struct Fixed;
        impl Clock for Fixed {
            fn now(&self) -> chrono::DateTime<chrono::Utc> {
                crate::clock::from_unix_ms(1_760_000_000_123)
            }
        }
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| RequestId::make(&Fixed)).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(id.as_uuid().get_version_num(), 7);
            assert_eq!(id.as_uuid().get_timestamp().unwrap().to_unix(), (1_760_000_000, 123_000_000));
        }
    }

    #[test]
    fn a_member_id_is_printable_and_never_shown_whole_by_debug() {
        for good in ["10", "a|b", "Zoë Ødegård", "会员", "👩‍👩‍👧", &"x".repeat(255), &"é".repeat(127)]
        {
            assert_eq!(good.parse::<MemberId>().map(|member| member.0), Ok(good.to_owned()));
        }
        let steering = ["a\u{1b}[2J", "a\n", "\u{7f}", "a\u{85}", "a\u{202e}b", "a\u{2028}b", "a\u{2066}b"];
        for bad in steering.into_iter().chain(["", &"x".repeat(256), &"é".repeat(128)]) {
            assert_eq!(bad.parse::<MemberId>(), Err(InvalidId::MemberId), "{bad:?}");
        }
        let member: MemberId = "alice@example.org".parse().unwrap();
        assert_eq!(format!("{member:?}"), "MemberId(al***)");
        let member: MemberId = "éß漢".parse().unwrap();
        assert_eq!(format!("{member:?}"), "MemberId(éß***)");
    }
}
