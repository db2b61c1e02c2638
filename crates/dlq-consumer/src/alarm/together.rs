//! One message for one burst: alarms of several causes that are sent for the first time, at the same time.

use std::collections::BTreeMap;

use coupon_core::repo::dlq_events::DlqEventStatus;

use super::{
    view::{Alarm, OfCause, OfCoupon},
    wording::counted,
};

/// Whether an alarm may stand in one message with others: it is the first of its cause.
pub fn is_first(alarm: &Alarm) -> bool {
    alarm.told_before.is_none()
}

/// Whether two alarms may stand in one message: they are of one kind, and equally bad.
pub fn belong(one: &Alarm, other: &Alarm) -> bool {
    one.kind == other.kind && one.severity == other.severity
}

/// One alarm for all of these; a single one as it is, `None` for none.
pub fn together(mut alarms: Vec<Alarm>) -> Option<Alarm> {
    if alarms.len() < 2 {
        return alarms.pop();
    }
    let causes: Vec<OfCause> = alarms.iter().map(OfCause::of).collect();
    let mut by_status: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut by_coupon: BTreeMap<String, usize> = BTreeMap::new();
    for alarm in &alarms {
        for (status, count) in &alarm.by_status {
            *by_status.entry(status).or_default() += count;
        }
        for of in &alarm.by_coupon {
            *by_coupon.entry(of.coupon.clone()).or_default() += of.count;
        }
    }
    let parts: Vec<(DlqEventStatus, usize)> =
        by_status.iter().filter_map(|(status, count)| Some((status.parse().ok()?, *count))).collect();
    let count: usize = alarms.iter().map(|alarm| alarm.count).sum();
    let what = if parts.is_empty() { format!("{count} notices") } else { counted(&parts) };
    let mut by_coupon: Vec<OfCoupon> =
        by_coupon.into_iter().map(|(coupon, count)| OfCoupon { coupon, count }).collect();
    by_coupon.sort_by_key(|of| std::cmp::Reverse(of.count));
    let first_at = alarms.iter().map(|alarm| alarm.first_at).min();
    let last_at = alarms.iter().map(|alarm| alarm.last_at).max();
    let all = alarms.len();
    let first = alarms.swap_remove(0);
    Some(Alarm {
        headline: format!("{what}, of {all} causes: {}", first.headline),
        cause: format!("{all} causes, the first: {}", first.cause),
        count,
        by_status,
        by_coupon,
        first_at: first_at.unwrap_or(first.first_at),
        last_at: last_at.unwrap_or(first.last_at),
        causes,
        ..first
    })
}
