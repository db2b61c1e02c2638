//! Everything that is unsent of one cause.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Claim, NoticeRow};
use crate::repo::{
    AlarmRepository, RepoError,
    dlq_events::{DlqEvent, DlqEventStatus},
};

/// Dead letters of one alarm; the others wait for the next one.
const MAX_DLQ_EVENTS: i64 = 50_000;

/// Everything that is unsent of one cause.
#[derive(Clone, Debug)]
pub struct AlarmGroup {
    /// Dead letters of the cause whose alarm is unsent.
    pub dlq_events: Option<UnsentDlqEvents>,
    /// Its notice; at most one of a cause is unsent.
    pub notice: Option<NoticeRow>,
}

/// Unsent dead letters of one cause.
#[derive(Clone, Debug)]
pub struct UnsentDlqEvents {
    /// Their numbers, the lowest first.
    pub ids: Vec<i64>,
    /// Number of each status.
    pub by_status: Vec<(DlqEventStatus, usize)>,
    /// Number of each campaign, the most first; `None`: records that cannot be read.
    pub by_coupon: Vec<(Option<String>, usize)>,
    /// Time of the first.
    pub first_at: DateTime<Utc>,
    /// Time of the last.
    pub last_at: DateTime<Utc>,
    /// The first of them.
    pub sample: DlqEvent,
}

#[derive(sqlx::FromRow)]
struct Part {
    #[sqlx(try_from = "String")]
    status: DlqEventStatus,
    coupon_code: Option<String>,
    ids: Vec<i64>,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

impl AlarmRepository<'_> {
    /// Returns everything that is unsent of a claimed cause.
    pub async fn group(self, claim: &Claim) -> Result<AlarmGroup, RepoError> {
        let select = sqlx::query_as(
            "SELECT status, coupon_code, array_agg(id ORDER BY id) AS ids, min(created_at) AS first_at,
                    max(created_at) AS last_at
             FROM (SELECT id, status, coupon_code, created_at FROM dlq_events
                   WHERE cause = $1 AND NOT alarm_sent ORDER BY id LIMIT $2) unsent
             GROUP BY status, coupon_code",
        )
        .bind(&claim.cause)
        .bind(MAX_DLQ_EVENTS);
        let parts: Vec<Part> = self.read("read what is unsent", select.fetch_all(&self.pool())).await?;
        let select =
            sqlx::query_as("SELECT * FROM alarm_notices WHERE cause = $1 AND NOT alarm_sent").bind(&claim.cause);
        let notice = self.read("read a notice", select.fetch_optional(&self.pool())).await?;
        let sample = match parts.iter().filter_map(|part| part.ids.first()).min() {
            Some(first) => self.dlq_events().find(*first).await?,
            None => None,
        };
        Ok(AlarmGroup { dlq_events: sample.map(|sample| together(parts, sample)), notice })
    }
}

fn together(parts: Vec<Part>, sample: DlqEvent) -> UnsentDlqEvents {
    let (mut first_at, mut last_at) = (sample.created_at, sample.created_at);
    let mut ids = Vec::new();
    let mut by_status = BTreeMap::<&str, (DlqEventStatus, usize)>::new();
    let mut by_coupon = BTreeMap::<Option<String>, usize>::new();
    for part in parts {
        (first_at, last_at) = (first_at.min(part.first_at), last_at.max(part.last_at));
        by_status.entry(part.status.as_str()).or_insert((part.status, 0)).1 += part.ids.len();
        *by_coupon.entry(part.coupon_code).or_default() += part.ids.len();
        ids.extend(part.ids);
    }
    ids.sort_unstable();
    let mut by_coupon: Vec<_> = by_coupon.into_iter().collect();
    by_coupon.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    UnsentDlqEvents { ids, by_status: by_status.into_values().collect(), by_coupon, first_at, last_at, sample }
}
