//! What the API answers, in types.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::Problem;

/// How far a request has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The request waits in the outbox for Kafka.
    Reserved,
    /// Kafka has acknowledged the request.
    Accepted,
    /// The coupon is written, for good.
    Issued,
    /// The request was compensated, for good: the unit went back, and the member holds nothing by it.
    Compensated,
}

impl State {
    /// Whether the state never changes again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Issued | Self::Compensated)
    }
}

/// A request of a member, as far as it has got.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Issue {
    /// The request.
    pub request_id: Uuid,
    /// The campaign.
    pub coupon_code: String,
    /// How far it has got.
    pub state: State,
    /// When an issued coupon expires.
    #[serde(default)]
    pub expires_at: Option<DateTime<Utc>>,
    /// Of a compensated request: the one by which the member holds a coupon of the campaign now.
    #[serde(default)]
    pub replaced_by: Option<Box<Issue>>,
}

/// The answer to a request for a coupon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A coupon is reserved for the member. Its state is at most `accepted`; the status tells what was decided.
    Held {
        /// The request by which the member holds it.
        issue: Issue,
        /// Whether the member held it before this try.
        is_repeat: bool,
    },
    /// The member holds none: sold out, not open, closed.
    Refused(Problem),
}

/// What became of a request for a coupon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The member has the coupon.
    Issued(Issue),
    /// The request was compensated, and the member holds no coupon of the campaign instead.
    Compensated(Issue),
    /// A coupon is reserved, and was not written in time. It will be written or compensated.
    Pending(Issue),
    /// The member holds none: sold out, not open, closed.
    Refused(Problem),
}
