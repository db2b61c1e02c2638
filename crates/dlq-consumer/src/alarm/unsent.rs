//! A claimed cause with the alarm that is to be sent of it.

use chrono::{DateTime, Utc};
use coupon_core::{
    clock::Clock,
    repo::{
        Database, RepoError,
        alarms::{AlarmGroup, Claim, Told},
    },
};

use super::{
    together::{belong, is_first},
    view::Alarm,
};

/// Dead letters noted as sent in one statement, far below what takes as long as a statement may.
const NOTE_BATCH: usize = 5_000;

/// An alarm of a cause that this process has claimed, until it is noted as sent or let go.
pub struct UnsentAlarm {
    /// The claimed cause.
    pub claim: Claim,
    /// The dead letters and the notice that the alarm was made of.
    pub group: AlarmGroup,
    /// What is sent.
    pub alarm: Alarm,
}

impl UnsentAlarm {
    /// Notes exactly what was read as sent: what came meanwhile is sent the next time.
    pub async fn note_sent(&self, database: &Database, clock: &dyn Clock) -> Result<(), RepoError> {
        let Self { claim, group, alarm } = self;
        let letters = group.letters.as_ref().map_or(&[][..], |letters| &letters.ids);
        metrics::counter!("coupon_dead_letters_announced_total").increment(letters.len() as u64);
        let notice = group.notice.as_ref().map(|notice| notice.id);
        // What was published again is an alarm when it is done, and has no end that an all-clear could tell.
        let has_end = ["SUSPECT ", "LOST ", "DRIFT "].iter().any(|kind| claim.cause.starts_with(kind));
        let ends = !letters.is_empty() || has_end;
        let mut batches = letters.chunks(NOTE_BATCH).peekable();
        loop {
            let letters = batches.next().unwrap_or_default().to_vec();
            let is_last = batches.peek().is_none();
            let notice = notice.filter(|_| is_last);
            let sent = Told { letters, notice, shown: alarm.cause.clone(), ends };
            database.alarms().note_sent(claim, sent, is_last, clock.now()).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Lets the cause go: nobody tries it again before `until`.
    pub async fn let_go(self, database: &Database, until: DateTime<Utc>) -> Result<(), RepoError> {
        database.alarms().release(self.claim, until).await
    }
}

/// The messages that are sent of these alarms: first alarms of their causes stand together, by kind and severity.
pub fn messages(unsent: Vec<UnsentAlarm>) -> Vec<Vec<UnsentAlarm>> {
    let mut messages: Vec<Vec<UnsentAlarm>> = Vec::new();
    for one in unsent {
        let with = |message: &&mut Vec<UnsentAlarm>| {
            message
                .iter()
                .all(|other| is_first(&one.alarm) && is_first(&other.alarm) && belong(&one.alarm, &other.alarm))
        };
        match messages.iter_mut().find(with) {
            Some(message) => message.push(one),
            None => messages.push(vec![one]),
        }
    }
    messages
}
