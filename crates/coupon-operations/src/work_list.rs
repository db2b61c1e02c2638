//! The work list: its entries, the dead letters, its figures, and how operators settle rows.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use coupon_core::repo::{
    RepoError,
    audit::AuditRow,
    dlq_events::{DlqEvent, DlqEventStatus},
    failed_coupon_issues::{FailedCouponIssue, ReplayLink},
    work_list::{Claimed, Figures, Filter, List, Note, Number, Settling, Verb},
};
use serde::Serialize;

use crate::Operations;

/// Rows settled in one transaction.
const SETTLE_BATCH_ROWS: i64 = 500;

/// An entry of the work list with its replays, dead letters and audit.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The entry.
    #[serde(flatten)]
    pub entry: FailedCouponIssue,
    /// Its replays, oldest first.
    pub replays: Vec<ReplayLink>,
    /// The dead letters of its request, oldest first.
    pub dead_letters: Vec<DlqEvent>,
    /// Its rows in the audit, newest first.
    pub audit: Vec<AuditRow>,
    /// What operators noted on it, oldest first.
    pub notes: Vec<Note>,
}

/// A dead letter with its bytes, its entry and its audit.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterDetails {
    /// The dead letter.
    #[serde(flatten)]
    pub dead_letter: DlqEvent,
    /// Its value, if it is text.
    pub payload: Option<String>,
    /// Value of the record, in base64.
    pub payload_base64: Option<String>,
    /// Key of the record, in base64.
    pub record_key_base64: Option<String>,
    /// Its headers in order, values in base64.
    pub headers: serde_json::Value,
    /// The entry of its request on the work list.
    pub entry: Option<FailedCouponIssue>,
    /// Its rows in the audit, newest first.
    pub audit: Vec<AuditRow>,
    /// What operators noted on it, oldest first.
    pub notes: Vec<Note>,
}

/// The figures of the work list, and the ages in them.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// Age of the oldest PENDING entry, in seconds.
    pub oldest_pending_seconds: Option<i64>,
    /// Unsent alarms that wait for the next digest of their cause; the other unsent alarms are late.
    pub alarms_in_digest: i64,
}

/// The outcome of settling one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The row was changed.
    Done,
    /// The row had the status before.
    Before,
    /// There is no such row; `true` when the other list has one of this id.
    Absent(bool),
    /// A dead letter of this status whose request was accepted and is undecided.
    Undecided(String),
    /// An entry that is the replay of another entry, which stands for it on the list.
    Replay,
    /// An entry with a replay under way, which may still be issued.
    UnderWay,
    /// A row of this status, from which it cannot be settled.
    Not(String),
}

impl Settled {
    /// Returns the outcome in a sentence.
    pub fn sentence(&self, id: i64, settling: &Settling) -> String {
        let (from, to) = settling.verb.transition(settling.list);
        let row = match settling.list {
            List::Requests => "entry",
            List::DlqEvents => "dead letter",
        };
        let number = settling.list.number(id);
        match self {
            Self::Done => format!("{row} {number} is {to}"),
            Self::Before => format!("{row} {number} was {to} before; nothing was changed"),
            Self::Absent(is_other) => absent(number, *is_other),
            Self::Undecided(status) => format!(
                "{row} {number} is {status}: an accepted request that nobody has decided; only `dlq-consumer replay {number} --reason WHY --by NAME` or `dlq-consumer compensate {number} --reason WHY --by NAME` decides it, once its coupon exists"
            ),
            Self::Replay => format!("{row} {number} is the replay of another entry, which stands for it on the list"),
            Self::UnderWay => format!(
                "a replay of {row} {number} is under way: cancel it or wait; `dlq-consumer show {number}` says what becomes of it"
            ),
            Self::Not(status) => {
                format!("{row} {number} is {status}, only one that is {} can become {to}", from.join(" or "))
            }
        }
    }

    /// Whether the row has the status asked for.
    pub fn is_so(&self) -> bool {
        matches!(self, Self::Done | Self::Before)
    }
}

impl Operations {
    /// Returns an entry of the work list.
    pub async fn entry(&self, id: i64) -> Result<Option<Entry>, RepoError> {
        let Some(entry) = self.database.failed_coupon_issues().find(id).await? else { return Ok(None) };
        Ok(Some(Entry {
            replays: self.database.failed_coupon_issues().replay_links(id).await?,
            dead_letters: self.database.dlq_events().of_request(entry.request_id).await?,
            audit: self.database.audit().of_subject(&subject(List::Requests.number(id))).await?,
            notes: self.database.work_list().notes(List::Requests.number(id)).await?,
            entry,
        }))
    }

    /// Returns a dead letter.
    pub async fn dead_letter(&self, id: i64) -> Result<Option<DeadLetterDetails>, RepoError> {
        let Some(mut dead_letter) = self.database.dlq_events().find(id).await? else { return Ok(None) };
        let entry =
            match (dead_letter.failed_issue_id, dead_letter.original_event_id, dead_letter.coupon_code.as_deref()) {
                (Some(entry), _, _) => self.database.failed_coupon_issues().find(entry).await?,
                (None, Some(request_id), Some(coupon)) => {
                    self.database.failed_coupon_issues().find_by_request(request_id, coupon).await?
                }
                (None, _, _) => None,
            };
        let payload = dead_letter.payload.take();
        Ok(Some(DeadLetterDetails {
            payload_base64: payload.as_deref().map(|bytes| STANDARD.encode(bytes)),
            payload: payload.and_then(|bytes| String::from_utf8(bytes).ok()),
            record_key_base64: dead_letter.record_key.take().map(|bytes| STANDARD.encode(bytes)),
            headers: dead_letter.headers.take(),
            entry,
            audit: self.database.audit().of_subject(&subject(List::DlqEvents.number(id))).await?,
            notes: self.database.work_list().notes(List::DlqEvents.number(id)).await?,
            dead_letter,
        }))
    }

    /// Returns the figures; an unsent alarm is not late while an alarm of its cause was sent within `digest`.
    pub async fn stats(&self, digest: TimeDelta) -> Result<Stats, RepoError> {
        let figures = self.database.work_list().figures().await?;
        let oldest = figures.counts.oldest_pending_at;
        let oldest_pending_seconds = oldest.map(|at| (self.clock.now() - at).num_seconds().max(0));
        let alarms_in_digest = self.database.alarms().in_digest(self.clock.now() - digest).await?;
        Ok(Stats { figures, oldest_pending_seconds, alarms_in_digest })
    }

    /// Notes something on a row. `false` when there is no such row.
    pub async fn note(&self, number: Number, note: String) -> Result<bool, RepoError> {
        self.database.work_list().add_note(number, note, self.me()).await
    }

    /// Claims an entry of the work list: whoever looks sees who is at it.
    pub async fn claim(&self, id: i64) -> Result<Claimed, RepoError> {
        self.database.work_list().claim(id, self.me()).await
    }

    /// Releases an entry of the work list, whoever has claimed it.
    pub async fn release(&self, id: i64) -> Result<Claimed, RepoError> {
        self.database.work_list().release(id, self.me()).await
    }

    /// Settles these rows and returns the outcome of each. May be repeated, whatever ended an earlier call.
    pub async fn settle_each(&self, settling: &Settling, ids: &[i64]) -> Result<Vec<(i64, Settled)>, RepoError> {
        let ids: BTreeSet<i64> = ids.iter().copied().collect();
        let mut done = BTreeSet::new();
        let filter = Filter { ids: ids.iter().copied().collect(), ..Filter::default() };
        self.settle_in_batches(settling, &filter, |batch| done.extend(batch)).await?;
        let others: Vec<i64> = ids.difference(&done).copied().collect();
        let standing = self.database.work_list().statuses(settling.list, &others).await?;
        let others = self.database.work_list().statuses(settling.list.other(), &others).await?;
        let (from, to) = settling.verb.transition(settling.list);
        let outcome = |id: i64| match standing.iter().find(|(other, _)| *other == id) {
            _ if done.contains(&id) => Settled::Done,
            None => Settled::Absent(others.iter().any(|(other, _)| *other == id)),
            Some((_, status)) if status == to => Settled::Before,
            // It has a status from which it could be settled, and was not.
            Some((_, status)) if from.contains(&status.as_str()) => match settling.list {
                List::DlqEvents => Settled::Undecided(status.clone()),
                List::Requests if settling.verb == Verb::Reopen => Settled::Replay,
                List::Requests => Settled::UnderWay,
            },
            Some((_, status)) if settling.list == List::DlqEvents && status == DlqEventStatus::Held.as_str() => {
                Settled::Undecided(status.clone())
            }
            Some((_, status)) => Settled::Not(status.clone()),
        };
        Ok(ids.into_iter().map(|id| (id, outcome(id))).collect())
    }

    /// Settles all rows of a filter that can be settled, in batches, each with its rows in the audit. Returns the number of
    /// rows changed. May be repeated: a settled row is not settled again.
    pub async fn settle_all(&self, settling: &Settling, filter: &Filter) -> Result<usize, RepoError> {
        let mut changed = 0;
        self.settle_in_batches(settling, filter, |batch| changed += batch.len()).await?;
        Ok(changed)
    }

    async fn settle_in_batches(
        &self,
        settling: &Settling,
        filter: &Filter,
        mut progress: impl FnMut(Vec<i64>),
    ) -> Result<(), RepoError> {
        let mut after = 0;
        loop {
            let (settling, filter, actor) = (settling.clone(), filter.clone(), self.me());
            let batch = self.database.work_list().settle(settling, filter, after, SETTLE_BATCH_ROWS, actor).await?;
            // Not "fewer than asked for": rows that somebody else has moved meanwhile are missing in a batch.
            let Some(last) = batch.last() else { return Ok(()) };
            after = *last;
            progress(batch);
        }
    }
}

/// Returns a row's subject in the audit.
pub fn subject(number: Number) -> String {
    format!("{}/{}", number.list, number.id)
}

/// Returns a sentence that there is no such row, with a hint if the other list has one of this id.
pub fn absent(number: Number, is_other: bool) -> String {
    let what = match number.list {
        List::Requests => format!("there is no entry {number} on the work list"),
        List::DlqEvents => format!("there is no dead letter {number}"),
    };
    let other = number.list.other();
    if is_other { format!("{what}; {} is {}", other.number(number.id), other.one()) } else { what }
}
