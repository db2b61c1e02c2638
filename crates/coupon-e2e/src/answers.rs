//! What clients were told: each answer of the API, and the log of all of them that the oracle reads.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

/// One answer to one request about one coupon of one member.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// When the answer had arrived.
    pub at: DateTime<Utc>,
    /// Time between the request and the answer.
    pub took: Duration,
    /// Who asked.
    pub member: String,
    /// For which campaign.
    pub coupon: String,
    /// HTTP status; none if no answer came.
    pub status: Option<u16>,
    /// The reservation, if the member has one.
    pub request_id: Option<Uuid>,
    /// Where the reservation stands.
    pub state: Option<State>,
    /// Stable code of a refusal, such as `SOLD_OUT`.
    pub code: Option<String>,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// `Location` of the status.
    pub location: Option<String>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// The body as it came, if it is JSON.
    pub body: Value,
    /// Why no answer came.
    pub no_answer: Option<String>,
}

/// Where a reservation stands, as the API tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the outbox, not yet acknowledged by Kafka.
    Reserved,
    /// Acknowledged by Kafka.
    Accepted,
    /// Written in PostgreSQL.
    Issued,
    /// Given up and given back.
    Compensated,
}

impl State {
    /// Reads the word of the API.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "reserved" => Some(Self::Reserved),
            "accepted" => Some(Self::Accepted),
            "issued" => Some(Self::Issued),
            "compensated" => Some(Self::Compensated),
            _ => None,
        }
    }
}

impl Answer {
    /// Whether the member was told that it has a coupon, now (202) or before (200).
    pub fn is_held(&self) -> bool {
        matches!(self.status, Some(200 | 202)) && self.request_id.is_some()
    }

    /// Whether this is that refusal.
    pub fn is_refused_as(&self, status: u16, code: &str) -> bool {
        self.status == Some(status) && self.code.as_deref() == Some(code)
    }
}

/// Answers in the order in which they came; clones share one log.
#[derive(Clone, Debug, Default)]
pub struct AnswerLog(Arc<Mutex<Vec<Answer>>>);

impl AnswerLog {
    /// Appends an answer.
    pub fn write(&self, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    /// All answers so far.
    pub fn read(&self) -> Vec<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
