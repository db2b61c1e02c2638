//! Unsent alarms of claimed causes, and their grouping into messages. Causes whose first alarms are due together, a burst,
//! make one message.

use std::{cmp::Reverse, collections::BTreeMap};

use coupon_core::{
    clock::Clock,
    repo::{
        Database, RepoError,
        alarms::{AlarmGroup, Claim, SentAlarm},
    },
};

use super::{
    compose::counted,
    view::{Alarm, OfCause, OfCoupon},
};

/// Dead letters noted as sent by one statement: far fewer than its time limit allows.
const NOTE_BATCH: usize = 1_000;

/// The alarm of a cause that this process has claimed, until it is noted as sent or its claim is released.
pub struct UnsentAlarm {
    /// The claimed cause.
    pub claim: Claim,
    /// The dead letters and the notice that the alarm was made of.
    pub group: AlarmGroup,
    /// The alarm as it is sent.
    pub alarm: Alarm,
}

impl UnsentAlarm {
    /// Notes as sent exactly the dead letters and the notice of the group: those stored meanwhile are sent the next time.
    pub async fn note_sent(&self, database: &Database, clock: &dyn Clock) -> Result<(), RepoError> {
        let Self { claim, group, alarm } = self;
        let dlq_events = group.dlq_events.as_ref().map_or(&[][..], |events| &events.ids);
        metrics::counter!("coupon_dead_letters_announced_total").increment(dlq_events.len() as u64);
        let notice = group.notice.as_ref().map(|notice| notice.id);
        let mut batches = dlq_events.chunks(NOTE_BATCH).peekable();
        loop {
            let dlq_events = batches.next().unwrap_or_default().to_vec();
            let is_last = batches.peek().is_none();
            let notice = notice.filter(|_| is_last);
            let sent = SentAlarm { dlq_events, notice, shown: alarm.cause.clone(), ends: alarm.has_end };
            database.alarms().note_sent(claim, sent, is_last, clock.now()).await?;
            if is_last {
                return Ok(());
            }
        }
    }
}

/// Groups alarms into messages: first alarms of their causes stand together, by kind and severity.
pub fn messages(unsent: Vec<UnsentAlarm>) -> Vec<Vec<UnsentAlarm>> {
    let mut messages: Vec<Vec<UnsentAlarm>> = Vec::new();
    for one in unsent {
        match messages
            .iter_mut()
            .find(|message| message.iter().all(|other| may_share_message(&one.alarm, &other.alarm)))
        {
            Some(message) => message.push(one),
            None => messages.push(vec![one]),
        }
    }
    messages
}

/// Whether two alarms may stand in one message: each is the first of its cause, and their kind and severity are the same.
fn may_share_message(one: &Alarm, other: &Alarm) -> bool {
    let are_first = one.told_before.is_none() && other.told_before.is_none();
    are_first && one.kind == other.kind && one.severity == other.severity
}

/// Returns the one alarm that a message carries: a single alarm as it is, several summed up; `None` for an empty message.
pub fn together(message: &[UnsentAlarm]) -> Option<Alarm> {
    let (UnsentAlarm { alarm: first, .. }, others) = message.split_first()?;
    let mut all = first.clone();
    if others.is_empty() {
        return Some(all);
    }
    for UnsentAlarm { alarm, .. } in others {
        all.count += alarm.count;
        all.first_at = all.first_at.min(alarm.first_at);
        all.last_at = all.last_at.max(alarm.last_at);
        for (status, count) in &alarm.by_status {
            *all.by_status.entry(status).or_default() += count;
        }
    }
    let mut by_coupon = BTreeMap::<&str, usize>::new();
    for of in message.iter().flat_map(|unsent| &unsent.alarm.by_coupon) {
        *by_coupon.entry(&of.coupon).or_default() += of.count;
    }
    let by_coupon = by_coupon.into_iter().map(|(coupon, count)| OfCoupon { coupon: coupon.to_owned(), count });
    all.by_coupon = by_coupon.collect();
    all.by_coupon.sort_by_key(|of| Reverse(of.count));
    let of_cause = |UnsentAlarm { alarm, .. }: &UnsentAlarm| OfCause {
        cause: alarm.cause.clone(),
        count: alarm.count,
        headline: alarm.headline.clone(),
        command: alarm.command.clone(),
    };
    all.causes = message.iter().map(of_cause).collect();
    let (count, causes) = (all.count, message.len());
    let what = if all.by_status.is_empty() { format!("{count} notices") } else { counted(&all.by_status) };
    all.headline = format!("{what}, of {causes} causes: {}", first.headline);
    all.cause = format!("{causes} causes, the first: {}", first.cause);
    Some(all)
}
