//! The answers that clients got from the API, and the log of all of them that the oracle reads.

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
    /// Arrival of the whole answer, UTC.
    pub at: DateTime<Utc>,
    /// Time between the request and the answer.
    pub took: Duration,
    /// The member who asked.
    pub member: String,
    /// Code of the campaign that was asked for.
    pub coupon: String,
    /// What was asked.
    pub question: Question,
    /// HTTP status; none if no answer came.
    pub status: Option<u16>,
    /// The reservation, if the member has one.
    pub request_id: Option<Uuid>,
    /// State of the reservation, if the body names one.
    pub state: Option<State>,
    /// Stable code of a refusal, such as `SOLD_OUT`.
    pub code: Option<String>,
    /// Header `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Header `Location`, the path of the request's state.
    pub location: Option<String>,
    /// Header `Content-Type`.
    pub content_type: Option<String>,
    /// The body as it came, if it is JSON.
    pub body: Value,
    /// The error, if no answer came.
    pub no_answer: Option<String>,
}

/// What a member asks of a campaign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Question {
    /// For a coupon.
    #[default]
    Coupon,
    /// Where a request stands.
    Status,
    /// What the member holds.
    Mine,
}

impl Question {
    /// The text in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coupon => "coupon",
            Self::Status => "status",
            Self::Mine => "mine",
        }
    }
}

/// State of a reservation, as the API reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In the outbox, not yet acknowledged by Kafka.
    Reserved,
    /// Acknowledged by Kafka.
    Accepted,
    /// Written in PostgreSQL.
    Issued,
    /// Compensated in PostgreSQL.
    Compensated,
}

impl State {
    /// The text of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Accepted => "accepted",
            Self::Issued => "issued",
            Self::Compensated => "compensated",
        }
    }

    /// Parses the text of the API; `None` for any other.
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
    /// Whether the answer says that the member holds a coupon, a new one (202) or an earlier one (200).
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
    /// Appends an answer to the log.
    pub fn write(&self, answer: Answer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
    }

    /// Returns all answers since the last call, and forgets them: for a run whose answers do not fit into memory.
    pub fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns all answers so far.
    pub fn read(&self) -> Vec<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
