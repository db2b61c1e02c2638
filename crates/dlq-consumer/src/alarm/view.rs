//! An alarm as it is sent: every text in it is masked, escaped and bounded, so that a channel only has to lay it out.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coupon_core::repo::alarms::{AlarmGroup, Claim, Cleared, Letters, NoticeRow};
use serde::Serialize;

use super::{
    anchors,
    dead_letter_view::DeadLetterView,
    mask::{Mask, cut},
    severity::Severity,
    wording::{counted, look_closer},
};

/// Campaigns that an alarm names; the others are counted.
const MAX_NAMED_CAMPAIGNS: usize = 10;

/// An alarm. Sent to the generic webhook as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Alarm {
    /// The service that sends it.
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
    /// The last alarm of this cause, and how many dead letters and notices there had been by then.
    pub told_before: Option<EarlierAlarm>,
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
    /// The cause of an alarm that has one.
    pub fn of(alarm: &Alarm) -> Self {
        Self {
            cause: alarm.cause.clone(),
            count: alarm.count,
            headline: alarm.headline.clone(),
            command: alarm.command.clone(),
        }
    }
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

impl Alarm {
    /// The alarm of a claimed cause; `None` when nothing is left to send.
    pub fn of(claim: &Claim, group: &AlarmGroup, mask_members: bool) -> Option<Self> {
        let told_before = claim.told.map(|(at, count)| EarlierAlarm { at, count });
        match group {
            AlarmGroup { letters: Some(letters), .. } => {
                let mask = if mask_members { Mask::of_letter(&letters.sample) } else { Mask::off() };
                Some(Self { told_before, ..of_letters(&claim.cause, letters, &mask) })
            }
            AlarmGroup { notice: Some(notice), .. } => Some(Self { told_before, ..of_notice(notice) }),
            AlarmGroup { letters: None, notice: None } => None,
        }
    }

    /// An alarm that says only that alarms arrive.
    pub fn test(by: &str, now: DateTime<Utc>) -> Self {
        let headline = format!("TEST: alarms of dlq-consumer arrive here (sent by {})", Mask::off().shown(by));
        let plain = Self::plain(headline, "TEST", "dlq-consumer doctor", now);
        Self { kind: "TEST", severity: Severity::Test, ..plain }
    }

    /// The alarm that nothing of a cause waits any more.
    pub fn all_clear(cleared: &Cleared, now: DateTime<Utc>) -> Self {
        let headline = format!("all clear: nothing waits any more of {}", cut(&cleared.shown, 300));
        let told_before = Some(EarlierAlarm { at: cleared.told_at, count: cleared.told_count });
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
        .take(MAX_NAMED_CAMPAIGNS)
        .map(|(coupon, count)| OfCoupon { coupon: name(coupon), count: *count })
        .collect();
    let others = by_coupon.iter().skip(MAX_NAMED_CAMPAIGNS);
    if by_coupon.len() > MAX_NAMED_CAMPAIGNS {
        let coupon = format!("({} others)", by_coupon.len() - MAX_NAMED_CAMPAIGNS);
        coupons.push(OfCoupon { coupon, count: others.map(|(_, count)| count).sum() });
    }
    Alarm {
        kind: "DEAD_LETTERS",
        severity: Severity::of_letters(letters),
        anchor: anchors::of_letters(by_status),
        headline: format!("{}: {}", counted(by_status), cut(&mask.shown(&sample.error_message), 300)),
        count: ids.len(),
        by_status: by_status.iter().map(|(status, count)| (status.as_str(), *count)).collect(),
        by_coupon: coupons,
        last_at: *last_at,
        letter: Some(DeadLetterView::of(sample, mask)),
        ..Alarm::plain(String::new(), &mask.shown(cause), &look_closer(sample), *first_at)
    }
}

fn of_notice(notice: &NoticeRow) -> Alarm {
    let shown = |text: &str| Mask::off().shown(text);
    let by_coupon = notice.coupon_code.iter().map(|coupon| OfCoupon { coupon: shown(coupon), count: 1 }).collect();
    let plain = Alarm::plain(shown(&notice.message), &shown(&notice.cause), &shown(&notice.command), notice.created_at);
    let severity = Severity::of_notice(&notice.cause);
    Alarm { by_coupon, severity, anchor: anchors::of_notice(&notice.cause), ..plain }
}
