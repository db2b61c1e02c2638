//! An alarm as it is told: every text in it is masked, escaped and bounded, so that a channel only has to lay it out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coupon_core::{
    repo::{
        alarms::{Claim, Cleared, Group, Letters, NoticeRow, Sample},
        dead_letters::LetterStatus,
        settling::List,
    },
    writing::codes,
};
use serde::Serialize;

use super::{
    critical::counted,
    mask::{Mask, cut, hidden},
    payload,
    signature::{Links, Severity, anchors},
};

/// Campaigns that are named; the others are counted.
const CAMPAIGNS: usize = 10;
/// Most characters of an error.
const MOST: usize = 4_000;

/// What is told. Sent to the generic webhook as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Alarm {
    /// Who tells.
    pub source: &'static str,
    /// Which installation, as the settings name it; empty: they do not.
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
    /// When this cause was told before, and how many there had been by then.
    pub told_before: Option<ToldBefore>,
    /// Dead letters of each status.
    pub by_status: BTreeMap<&'static str, usize>,
    /// Dead letters of each campaign, the most first.
    pub by_coupon: Vec<OfCoupon>,
    /// When the first was put down.
    pub first_at: DateTime<Utc>,
    /// When the last was.
    pub last_at: DateTime<Utc>,
    /// What to run to look closer.
    pub command: String,
    /// Where to read on.
    pub links: Links,
    /// The entry of the runbook.
    #[serde(skip)]
    pub anchor: &'static str,
    /// When it tells of several causes at once: each of them.
    pub causes: Vec<OfCause>,
    /// What else is so: that another channel is down.
    pub notes: Vec<String>,
    /// The first of the dead letters.
    pub letter: Option<Letter>,
}

/// An earlier alarm.
#[derive(Clone, Debug, Serialize)]
pub struct ToldBefore {
    /// When.
    pub at: DateTime<Utc>,
    /// How many by then, in all.
    pub count: i64,
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
    /// What to run to look closer.
    pub command: String,
}

impl OfCause {
    /// That of an alarm that tells of one cause.
    pub fn of(alarm: &Alarm) -> Self {
        Self {
            cause: alarm.cause.clone(),
            count: alarm.count,
            headline: alarm.headline.clone(),
            command: alarm.command.clone(),
        }
    }
}

/// A dead letter with everything somebody who is called at night needs.
#[derive(Clone, Debug, Serialize)]
pub struct Letter {
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

impl Alarm {
    /// What is told of a claimed cause; `None` when nothing is left to tell.
    pub fn of(claim: &Claim, group: &Group, mask_members: bool) -> Option<Self> {
        let told_before = claim.told.map(|(at, count)| ToldBefore { at, count });
        match group {
            Group { letters: Some(letters), .. } => {
                let mask = if mask_members { Mask::of_letter(&letters.sample) } else { Mask::off() };
                Some(Self { told_before, ..of_letters(&claim.cause, letters, &mask) })
            }
            Group { notice: Some(notice), .. } => Some(Self { told_before, ..of_notice(notice) }),
            Group { letters: None, notice: None } => None,
        }
    }

    /// An alarm that says only that alarms arrive.
    pub fn test(by: &str, now: DateTime<Utc>) -> Self {
        let headline = format!("TEST: alarms of dlq-consumer arrive here (sent by {})", Mask::off().shown(by));
        let plain = Self::plain(headline, "TEST", "dlq-consumer doctor", now);
        Self { kind: "TEST", severity: Severity::Test, ..plain }
    }

    /// What is told when nothing of a cause waits any more.
    pub fn all_clear(cleared: &Cleared, now: DateTime<Utc>) -> Self {
        let headline = format!("all clear: nothing waits any more of {}", cut(&cleared.shown, 300));
        let told_before = Some(ToldBefore { at: cleared.told_at, count: cleared.told_count });
        let plain = Self::plain(headline, &cleared.shown, "dlq-consumer stats", now);
        Self { kind: "ALL_CLEAR", severity: Severity::Ok, anchor: anchors::ALL_CLEAR, count: 0, told_before, ..plain }
    }

    fn plain(headline: String, cause: &str, command: &str, at: DateTime<Utc>) -> Self {
        Self {
            source: "dlq-consumer",
            installation: String::new(),
            kind: "NOTICE",
            severity: Severity::Critical,
            headline,
            cause: cause.to_owned(),
            count: 1,
            told_before: None,
            by_status: BTreeMap::new(),
            by_coupon: Vec::new(),
            first_at: at,
            last_at: at,
            command: command.to_owned(),
            links: Links::default(),
            anchor: anchors::RUNBOOK,
            causes: Vec::new(),
            notes: Vec::new(),
            letter: None,
        }
    }
}

fn of_letters(cause: &str, letters: &Letters, mask: &Mask) -> Alarm {
    let Letters { ids, by_status, by_coupon, first_at, last_at, sample } = letters;
    let name = |coupon: &Option<String>| coupon.as_deref().map_or_else(|| "(unreadable)".to_owned(), |c| mask.shown(c));
    let mut coupons: Vec<OfCoupon> = by_coupon
        .iter()
        .take(CAMPAIGNS)
        .map(|(coupon, count)| OfCoupon { coupon: name(coupon), count: *count })
        .collect();
    let others = by_coupon.iter().skip(CAMPAIGNS);
    if by_coupon.len() > CAMPAIGNS {
        let coupon = format!("({} others)", by_coupon.len() - CAMPAIGNS);
        coupons.push(OfCoupon { coupon, count: others.map(|(_, count)| count).sum() });
    }
    Alarm {
        kind: "DEAD_LETTERS",
        severity: severity(letters),
        anchor: anchor(by_status),
        headline: format!("{}: {}", counted(by_status), cut(&mask.shown(&sample.error_message), 300)),
        count: ids.len(),
        by_status: by_status.iter().map(|(status, count)| (status.as_str(), *count)).collect(),
        by_coupon: coupons,
        last_at: *last_at,
        letter: Some(letter(sample, mask)),
        ..Alarm::plain(String::new(), &mask.shown(cause), &look_closer(sample), *first_at)
    }
}

fn of_notice(notice: &NoticeRow) -> Alarm {
    let shown = |text: &str| Mask::off().shown(text);
    let by_coupon = notice.coupon_code.iter().map(|coupon| OfCoupon { coupon: shown(coupon), count: 1 }).collect();
    let plain = Alarm::plain(shown(&notice.message), &shown(&notice.cause), &shown(&notice.command), notice.created_at);
    let severity = severity_of_notice(&notice.cause);
    Alarm { by_coupon, severity, anchor: anchors::of_notice(&notice.cause), ..plain }
}

/// A campaign that accepts nothing, and data that differs, are somebody's coupons. What was published again is on its way to
/// its members, and nobody has to do anything for them.
pub fn severity_of_notice(cause: &str) -> Severity {
    if cause.starts_with("REQUEUED ") { Severity::Warning } else { Severity::Critical }
}

/// A request that was given up or is undecided is somebody's coupon. A record that cannot be read, or that carries the
/// request id of somebody else, was written by no issuer-api and is nobody's.
pub fn severity(letters: &Letters) -> Severity {
    let is_foreign =
        letters.sample.error_code == codes::OTHER_MEMBER || letters.by_coupon.iter().all(|of| of.0.is_none());
    let is_a_coupon = |status: &LetterStatus| match status {
        LetterStatus::Compensated | LetterStatus::Held => true,
        LetterStatus::Parked => !is_foreign,
        _ => false,
    };
    let is_critical = letters.by_status.iter().any(|(status, _)| is_a_coupon(status));
    if is_critical { Severity::Critical } else { Severity::Warning }
}

fn anchor(by_status: &[(LetterStatus, usize)]) -> &'static str {
    let has = |wanted| by_status.iter().any(|(status, _)| *status == wanted);
    if has(LetterStatus::Compensated) {
        anchors::GIVEN_UP
    } else if has(LetterStatus::Held) {
        anchors::HELD
    } else {
        anchors::PARKED
    }
}

/// The command that shows all there is to know of a letter.
pub fn look_closer(sample: &Sample) -> String {
    match sample.failed_issue_id {
        Some(id) => format!("dlq-consumer show {}", List::Requests.number(id)),
        None => format!("dlq-consumer show {}", List::Letters.number(sample.id)),
    }
}

fn letter(sample: &Sample, mask: &Mask) -> Letter {
    let origin = match (&sample.origin_topic, sample.origin_partition, sample.origin_offset) {
        (Some(topic), Some(partition), Some(offset)) => mask.shown(&format!("{topic} {partition}/{offset}")),
        _ => "unknown".to_owned(),
    };
    let key = sample.record_key.as_deref().map(String::from_utf8_lossy);
    // By convention the key is the member.
    let key = key.map(|key| mask.shown(&if mask.is_on() { hidden(&key) } else { cut(&key, 200) }));
    let chain = sample.stack_trace.lines().take(20).map(|line| cut(&mask.shown(line), 1_000));
    Letter {
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
        error: cut(&mask.shown(&sample.error_message), MOST),
        error_chain: chain.collect(),
        payload: payload::shown(sample.payload.as_deref(), mask),
    }
}
