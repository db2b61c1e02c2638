//! An alarm as it is sent and logged: every text in it is masked, escaped and bounded, so that a channel and the log only lay
//! it out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coupon_core::repo::{alarms::Claim, dlq_events::DlqEvent};
use serde::Serialize;

use super::{
    classify::Severity,
    mask::{Mask, cut},
    settings::AlarmSettings,
};

/// Most characters of an error.
const MAX_ERROR_CHARACTERS: usize = 4_000;
/// Most errors below it, and most characters of each.
const MAX_CHAIN: (usize, usize) = (20, 1_000);
/// Most characters of the key of a record.
const MAX_KEY_CHARACTERS: usize = 200;

/// An alarm. The generic webhook gets it as it is, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Alarm {
    /// The service that sends the alarm.
    pub source: &'static str,
    /// Name of the installation, from the settings; empty: they give none.
    pub installation: String,
    /// `DEAD_LETTERS`, `NOTICE`, `ALL_CLEAR` or `TEST`.
    pub kind: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// All of it in one line.
    pub headline: String,
    /// What it is counted under.
    pub cause: String,
    /// How many dead letters and notices.
    pub count: usize,
    /// The last alarm of this cause, and how many dead letters and notices there had been by then.
    pub told_before: Option<EarlierAlarm>,
    /// Number of dead letters of each status.
    pub by_status: BTreeMap<&'static str, usize>,
    /// Number of dead letters of each campaign, the most first.
    pub by_coupon: Vec<OfCoupon>,
    /// When the first dead letter or notice was stored.
    pub first_at: DateTime<Utc>,
    /// When the last dead letter or notice was stored.
    pub last_at: DateTime<Utc>,
    /// The command that shows more.
    pub command: String,
    /// Where to read on.
    pub links: Links,
    /// The entry of the runbook.
    #[serde(skip)]
    pub anchor: &'static str,
    /// Whether an all-clear follows when nothing of the cause waits any more.
    #[serde(skip)]
    pub has_end: bool,
    /// Each of the causes, when it is an alarm of several at once.
    pub causes: Vec<OfCause>,
    /// What else is so: that another channel is down.
    pub notes: Vec<String>,
    /// The first of the dead letters.
    pub letter: Option<DeadLetterView>,
}

/// An earlier alarm.
#[derive(Clone, Debug, Serialize)]
pub struct EarlierAlarm {
    /// When it was sent.
    pub at: DateTime<Utc>,
    /// How many dead letters and notices had been sent by then, in all.
    pub count: i64,
}

impl EarlierAlarm {
    /// The last alarm of a claimed cause.
    pub fn of(claim: &Claim) -> Option<Self> {
        claim.last_sent.map(|(at, count)| Self { at, count })
    }
}

/// Dead letters of one campaign.
#[derive(Clone, Debug, Serialize)]
pub struct OfCoupon {
    /// The campaign.
    pub coupon: String,
    /// How many.
    pub count: usize,
}

/// One of several causes.
#[derive(Clone, Debug, Serialize)]
pub struct OfCause {
    /// The cause.
    pub cause: String,
    /// How many dead letters and notices.
    pub count: usize,
    /// All of it in one line.
    pub headline: String,
    /// The command that shows more.
    pub command: String,
}

/// Where to read on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Links {
    /// The entry of the runbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
}

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
    /// When it was stored.
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
    /// Code of the last failure.
    pub error_code: String,
    /// Message of the last failure.
    pub error: String,
    /// The errors below it, outermost first.
    pub error_chain: Vec<String>,
    /// The payload.
    pub payload: String,
}

impl Alarm {
    /// Adds the name of the installation and where to read on.
    pub fn signed(self, settings: &AlarmSettings) -> Self {
        let link = |url: &str, anchor: &str| (!url.is_empty()).then(|| format!("{url}{anchor}"));
        let runbook = link(&settings.runbook_url, &format!("#{}", self.anchor));
        let links = Links { runbook, dashboard: link(&settings.dashboard_url, "") };
        Self { installation: settings.installation.clone(), links, ..self }
    }
}

impl DeadLetterView {
    /// The letter with every text masked, escaped and bounded.
    pub fn of(letter: &DlqEvent, mask: &Mask) -> Self {
        let origin = match (&letter.origin_topic, letter.origin_partition, letter.origin_offset) {
            (Some(topic), Some(partition), Some(offset)) => mask.shown(&format!("{topic} {partition}/{offset}")),
            _ => "unknown".to_owned(),
        };
        // By convention the key is the member.
        let key = letter
            .record_key
            .as_deref()
            .map(|key| cut(&mask.member(&String::from_utf8_lossy(key)), MAX_KEY_CHARACTERS));
        let chain = letter.stack_trace.lines().take(MAX_CHAIN.0);
        Self {
            id: letter.id,
            event_type: mask.shown(&letter.original_event_type),
            status: letter.status.as_str(),
            created_at: letter.created_at,
            request_id: letter.original_event_id.map(|id| id.to_string()),
            origin,
            coupon: letter.coupon_code.as_deref().map(|coupon| mask.shown(coupon)),
            member: letter.member_id.as_deref().map(|member| mask.shown(&mask.member(member))),
            key: key.map(|key| mask.shown(&key)),
            attempts: letter.attempts,
            error_class: mask.shown(&letter.error_class),
            error_code: mask.shown(&letter.error_code),
            error: cut(&mask.shown(&letter.error_message), MAX_ERROR_CHARACTERS),
            error_chain: chain.map(|line| cut(&mask.shown(line), MAX_CHAIN.1)).collect(),
            payload: mask.payload(letter.payload.as_deref()),
        }
    }
}
