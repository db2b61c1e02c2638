//! A dead letter as an alarm shows it.

use chrono::{DateTime, Utc};
use coupon_core::repo::alarms::Sample;
use serde::Serialize;

use super::{
    mask::{Mask, cut, hidden},
    payload,
};

/// Most characters of an error.
const MAX_ERROR_CHARACTERS: usize = 4_000;

/// A dead letter with everything somebody who is called at night needs.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterView {
    /// Number.
    pub id: i64,
    /// What was meant to happen.
    #[serde(rename = "type")]
    pub event_type: String,
    /// What became of it.
    pub status: &'static str,
    /// When it was put down.
    pub created_at: DateTime<Utc>,
    /// The request.
    pub request_id: Option<String>,
    /// Where the record came from at first: topic partition/offset.
    pub origin: String,
    /// Campaign.
    pub coupon: Option<String>,
    /// Member.
    pub member: Option<String>,
    /// Key of the record.
    pub key: Option<String>,
    /// Attempts of dlq-consumer.
    pub attempts: i32,
    /// Class of the last failure.
    pub error_class: String,
    /// Its code.
    pub error_code: String,
    /// Its words.
    pub error: String,
    /// The errors below it, outermost first.
    pub error_chain: Vec<String>,
    /// The payload in words.
    pub payload: String,
}

impl DeadLetterView {
    /// Every text of the letter masked, escaped and bounded.
    pub fn of(sample: &Sample, mask: &Mask) -> Self {
        let origin = match (&sample.origin_topic, sample.origin_partition, sample.origin_offset) {
            (Some(topic), Some(partition), Some(offset)) => mask.shown(&format!("{topic} {partition}/{offset}")),
            _ => "unknown".to_owned(),
        };
        let key = sample.record_key.as_deref().map(String::from_utf8_lossy);
        // By convention the key is the member.
        let key = key.map(|key| mask.shown(&if mask.is_on() { hidden(&key) } else { cut(&key, 200) }));
        let chain = sample.stack_trace.lines().take(20).map(|line| cut(&mask.shown(line), 1_000));
        Self {
            id: sample.id,
            event_type: mask.shown(&sample.original_event_type),
            status: sample.status.as_str(),
            created_at: sample.created_at,
            request_id: sample.original_event_id.map(|id| id.to_string()),
            origin,
            coupon: sample.coupon_code.as_deref().map(|coupon| mask.shown(coupon)),
            member: sample.member_id.as_deref().map(|member| mask.shown(&mask.member(member))),
            key,
            attempts: sample.attempts,
            error_class: mask.shown(&sample.error_class),
            error_code: mask.shown(&sample.error_code),
            error: cut(&mask.shown(&sample.error_message), MAX_ERROR_CHARACTERS),
            error_chain: chain.collect(),
            payload: payload::shown(sample.payload.as_deref(), mask),
        }
    }
}
