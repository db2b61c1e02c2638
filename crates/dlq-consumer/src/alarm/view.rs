//! An alarm as channels and the log show it. Every text in it is masked, escaped and of limited length, so that the layouts
//! need not care.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::{alarms::Claim, dlq_events::DlqEvent},
};
use serde::Serialize;

use super::{
    classify::Severity,
    mask::{Mask, cut},
    settings::AlarmSettings,
};

/// Most characters of an error.
const MAX_ERROR_CHARACTERS: usize = 4_000;
/// Most errors of a chain, and most characters of each.
const MAX_CHAIN: (usize, usize) = (20, 1_000);
/// Most characters of the key of a record.
const MAX_KEY_CHARACTERS: usize = 200;

/// An alarm. The generic webhook gets it as JSON, field by field.
#[derive(Clone, Debug, Serialize)]
pub struct Alarm {
    /// The service that sends the alarm.
    pub source: &'static str,
    /// Name of the installation, from the settings; empty: they give none.
    pub installation: String,
    /// `DEAD_LETTERS`, `NOTICE`, `ALL_CLEAR` or `TEST`.
    pub kind: &'static str,
    /// Severity of the alarm.
    pub severity: Severity,
    /// Summary in one line.
    pub headline: String,
    /// The error fingerprint of its dead letters, or the cause of its notice.
    pub cause: String,
    /// Number of dead letters and notices.
    pub count: usize,
    /// The alarm of this cause before this one; `None` for the first.
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
    /// Links to the runbook, the dashboard and the console.
    pub links: Links,
    /// Anchor of the entry in the runbook.
    #[serde(skip)]
    pub anchor: &'static str,
    /// Whether an all-clear follows when nothing of the cause waits any more.
    #[serde(skip)]
    pub has_end: bool,
    /// Each of the causes, when the alarm is of several; else empty.
    pub causes: Vec<OfCause>,
    /// Remarks, such as that another channel is down.
    pub notes: Vec<String>,
    /// The first of the dead letters; `None` for an alarm without any.
    pub letter: Option<DeadLetterView>,
}

/// An earlier alarm.
#[derive(Clone, Debug, Serialize)]
pub struct EarlierAlarm {
    /// When the alarm was sent.
    pub at: DateTime<Utc>,
    /// Number of dead letters and notices sent by then, in all.
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
    /// Code of the campaign.
    pub coupon: String,
    /// Number of its dead letters.
    pub count: usize,
}

/// One of several causes.
#[derive(Clone, Debug, Serialize)]
pub struct OfCause {
    /// Error fingerprint, or cause of a notice.
    pub cause: String,
    /// Number of dead letters and notices.
    pub count: usize,
    /// Summary in one line.
    pub headline: String,
    /// The command that shows more.
    pub command: String,
}

/// Links to the runbook, the dashboard and the console; `None` where the settings give no URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Links {
    /// The entry of the runbook that fits the alarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// The dashboard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<String>,
    /// The page of the operators' console where the night begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
}

/// A dead letter with all that somebody needs who is called at night.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterView {
    /// Id of the row of `dlq_events`.
    pub id: i64,
    /// Type of the event.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Status of the dead letter.
    pub status: &'static str,
    /// When the dead letter was stored.
    pub created_at: DateTime<Utc>,
    /// Request id, if the record could be read.
    pub request_id: Option<String>,
    /// Topic, partition and offset of the record that was dead-lettered.
    pub origin: String,
    /// Code of the campaign, if the record could be read.
    pub coupon: Option<String>,
    /// Member, if the record could be read; masked unless `alarms.mask_members` is off.
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
    /// Causes of the error, outermost first.
    pub error_chain: Vec<String>,
    /// Payload of the record.
    pub payload: String,
}

impl Alarm {
    /// Adds the name of the installation and the links of the settings.
    pub fn signed(self, settings: &AlarmSettings) -> Self {
        let link = |url: &str, anchor: &str| (!url.is_empty()).then(|| format!("{url}{anchor}"));
        let runbook = link(&settings.runbook_url, &format!("#{}", self.anchor));
        let console = link(settings.console_url.trim_end_matches('/'), &self.page());
        let links = Links { runbook, dashboard: link(&settings.dashboard_url, ""), console };
        Self { installation: settings.installation.clone(), links, ..self }
    }

    /// Returns the path of the console's page to begin with: the campaign or its comparison for a notice, the causes for
    /// dead letters, else the overview.
    fn page(&self) -> String {
        let of_campaign = self.cause.split_once(' ').filter(|(_, code)| code.parse::<CouponCode>().is_ok());
        match (self.kind, of_campaign) {
            ("NOTICE", Some(("SUSPECT" | "LOST", code))) => format!("/campaigns/{code}"),
            ("NOTICE", Some(("DRIFT" | "REQUEUED", code))) => format!("/reconcile?coupon={code}"),
            ("DEAD_LETTERS", _) => "/causes".to_owned(),
            _ => "/".to_owned(),
        }
    }
}

impl DeadLetterView {
    /// Returns the view of a dead letter, with every text masked, escaped and cut.
    pub fn of(dead_letter: &DlqEvent, mask: &Mask) -> Self {
        let origin = match (&dead_letter.origin_topic, dead_letter.origin_partition, dead_letter.origin_offset) {
            (Some(topic), Some(partition), Some(offset)) => mask.shown(&format!("{topic} {partition}/{offset}")),
            _ => "unknown".to_owned(),
        };
        // By convention the key is the member.
        let key = dead_letter
            .record_key
            .as_deref()
            .map(|key| cut(&mask.member(&String::from_utf8_lossy(key)), MAX_KEY_CHARACTERS));
        let chain = dead_letter.stack_trace.lines().take(MAX_CHAIN.0);
        Self {
            id: dead_letter.id,
            event_type: mask.shown(&dead_letter.original_event_type),
            status: dead_letter.status.as_str(),
            created_at: dead_letter.created_at,
            request_id: dead_letter.original_event_id.map(|id| id.to_string()),
            origin,
            coupon: dead_letter.coupon_code.as_deref().map(|coupon| mask.shown(coupon)),
            member: dead_letter.member_id.as_deref().map(|member| mask.shown(&mask.member(member))),
            key: key.map(|key| mask.shown(&key)),
            attempts: dead_letter.attempts,
            error_class: mask.shown(&dead_letter.error_class),
            error_code: mask.shown(&dead_letter.error_code),
            error: cut(&mask.shown(&dead_letter.error_message), MAX_ERROR_CHARACTERS),
            error_chain: chain.map(|line| cut(&mask.shown(line), MAX_CHAIN.1)).collect(),
            payload: mask.payload(dead_letter.payload.as_deref()),
        }
    }
}
