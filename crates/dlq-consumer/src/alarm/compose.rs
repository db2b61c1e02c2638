//! Composes alarms: of a claimed cause, the all-clear of a cause, and the test.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use coupon_core::repo::{
    alarms::{AlarmGroup, Claim, NoticeRow, UnsentDlqEvents},
    dlq_events::{DlqEvent, DlqEventStatus},
    work_list::List,
};

use super::{
    classify::{self, Class},
    mask::{Mask, cut},
    view::{Alarm, DeadLetterView, EarlierAlarm, Links, OfCoupon},
};

/// Campaigns that an alarm names; the others are counted.
const MAX_NAMED_CAMPAIGNS: usize = 10;
/// Most characters of an error or a cause in a headline.
const MAX_HEADLINE_CHARACTERS: usize = 300;

impl Alarm {
    /// Composes the alarm of a claimed cause; `None` when nothing is left to send.
    pub fn of(claim: &Claim, group: &AlarmGroup, mask_members: bool) -> Option<Self> {
        let alarm = match group {
            AlarmGroup { dlq_events: Some(dlq_events), .. } => {
                let mask = if mask_members { Mask::of_dead_letter(&dlq_events.sample) } else { Mask::off() };
                of_dlq_events(&claim.cause, dlq_events, &mask)
            }
            AlarmGroup { notice: Some(notice), .. } => of_notice(notice),
            AlarmGroup { dlq_events: None, notice: None } => return None,
        };
        Some(Self { told_before: EarlierAlarm::of(claim), ..alarm })
    }

    /// Composes the test, which says only that alarms arrive.
    pub fn test(by: &str, now: DateTime<Utc>) -> Self {
        let headline = format!("TEST: alarms of dlq-consumer arrive here (sent by {})", Mask::off().shown(by));
        Self::plain("TEST", classify::TEST, headline, "TEST", "dlq-consumer doctor", now)
    }

    /// Composes the all-clear: no dead letter and no notice of the cause waits any more.
    pub fn all_clear(claim: &Claim, now: DateTime<Utc>) -> Self {
        let cause = &claim.shown;
        let headline = format!("all clear: nothing waits any more of {}", cut(cause, MAX_HEADLINE_CHARACTERS));
        let plain = Self::plain("ALL_CLEAR", classify::ALL_CLEAR, headline, cause, "dlq-consumer stats", now);
        Self { count: 0, told_before: EarlierAlarm::of(claim), ..plain }
    }

    fn plain(
        kind: &'static str,
        class: Class,
        headline: String,
        cause: &str,
        command: &str,
        at: DateTime<Utc>,
    ) -> Self {
        Self {
            source: "dlq-consumer",
            installation: String::new(),
            kind,
            severity: class.severity,
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
            anchor: class.anchor,
            has_end: class.has_end,
            causes: Vec::new(),
            notes: Vec::new(),
            letter: None,
        }
    }
}

fn of_dlq_events(cause: &str, dlq_events: &UnsentDlqEvents, mask: &Mask) -> Alarm {
    let name = |coupon: &Option<String>| coupon.as_deref().map_or_else(|| "(unreadable)".to_owned(), |c| mask.shown(c));
    let (named, others) = dlq_events.by_coupon.split_at(dlq_events.by_coupon.len().min(MAX_NAMED_CAMPAIGNS));
    let mut by_coupon: Vec<OfCoupon> =
        named.iter().map(|(coupon, count)| OfCoupon { coupon: name(coupon), count: *count }).collect();
    if !others.is_empty() {
        let count = others.iter().map(|(_, count)| count).sum();
        by_coupon.push(OfCoupon { coupon: format!("({} others)", others.len()), count });
    }
    let by_status = dlq_events.by_status.iter().map(|(status, count)| (status.as_str(), *count)).collect();
    let error = cut(&mask.shown(&dlq_events.sample.error_message), MAX_HEADLINE_CHARACTERS);
    let headline = format!("{}: {error}", counted(&by_status));
    let (class, command) = (classify::of_dlq_events(dlq_events), show_command(&dlq_events.sample));
    Alarm {
        count: dlq_events.ids.len(),
        by_status,
        by_coupon,
        last_at: dlq_events.last_at,
        letter: Some(DeadLetterView::of(&dlq_events.sample, mask)),
        ..Alarm::plain("DEAD_LETTERS", class, headline, &mask.shown(cause), &command, dlq_events.first_at)
    }
}

fn of_notice(notice: &NoticeRow) -> Alarm {
    let shown = |text: &str| Mask::off().shown(text);
    let by_coupon = notice.coupon_code.iter().map(|coupon| OfCoupon { coupon: shown(coupon), count: 1 }).collect();
    let (class, cause, command) = (classify::of_notice(&notice.cause), shown(&notice.cause), shown(&notice.command));
    Alarm { by_coupon, ..Alarm::plain("NOTICE", class, shown(&notice.message), &cause, &command, notice.created_at) }
}

/// Returns how many dead letters have each status, such as `3 requests given up, 1 dead letter held undecided`.
pub fn counted(by_status: &BTreeMap<&'static str, usize>) -> String {
    let part = |(status, count): (&&str, &usize)| {
        let (what, how) = match status.parse() {
            Ok(DlqEventStatus::Compensated) => ("request", "given up"),
            Ok(DlqEventStatus::Held) => ("dead letter", "held undecided"),
            Ok(DlqEventStatus::Parked) => ("dead letter", "parked undecided"),
            _ => ("dead letter", &*status.to_lowercase()),
        };
        let plural = if *count == 1 { "" } else { "s" };
        format!("{count} {what}{plural} {how}")
    };
    by_status.iter().map(part).collect::<Vec<_>>().join(", ")
}

/// Returns the command that shows the entry of the work list, or the dead letter if it has none.
fn show_command(event: &DlqEvent) -> String {
    let number = event.failed_issue_id.map_or_else(|| List::DlqEvents.number(event.id), |id| List::Requests.number(id));
    format!("dlq-consumer show {number}")
}
