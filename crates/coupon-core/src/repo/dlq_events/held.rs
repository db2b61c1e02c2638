//! Undecided dead letters, HELD or PARKED, and their replay.

use sqlx::AssertSqlSafe;

use crate::{
    failure::{Class, Failure},
    repo::{
        DlqEventRepository, RepoError,
        audit::{Actor, append_audit},
        dlq_events::{DlqEvent, DlqEventStatus, NewDlqEvent},
        replay_jobs::{Hold, advance, count_success},
        replays::{Plan, SampledRow},
        work_list::{DLQ_EVENT_FILTER, Filter},
    },
};

/// An undecided dead letter.
#[derive(Clone, Debug)]
pub struct UndecidedDlqEvent {
    /// Number.
    pub id: i64,
    /// Record.
    pub record: NewDlqEvent,
    /// Failure that it was classified by.
    pub failure: Failure,
}

/// Refusal of a replay of the dead letter `f`, or NULL; $10: newest version of the event that can be read, $11: codes of
/// events that are not signed by us.
const CLASSIFY: &str = "
    CASE WHEN f.status NOT IN ('HELD', 'PARKED') THEN 'DECIDED'
         WHEN f.error_code = ANY($11) THEN f.error_code
         WHEN f.original_event_id IS NULL AND f.event_version IS NULL THEN 'UNREADABLE'
         WHEN f.event_version > $10 THEN 'NEWER_VERSION'
         WHEN f.error_code = 'OTHER_MEMBER' THEN 'OTHER_MEMBER'
         WHEN f.coupon_code IS NOT NULL AND c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
         WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
    END AS refusal
    FROM dlq_events f LEFT JOIN coupons c ON c.coupon_code = f.coupon_code";

impl DlqEventRepository<'_> {
    /// Counts the dead letters of a filter that can be replayed, and the others by refusal; `supported` is the newest
    /// version of the event that can be read, `refused` are codes that stand for a refusal themselves.
    pub async fn plan_replay(
        self,
        filter: &Filter,
        supported: u64,
        refused: &'static [&'static str],
    ) -> Result<Plan, RepoError> {
        let select = AssertSqlSafe(Plan::select(CLASSIFY, DLQ_EVENT_FILTER));
        let select = sqlx::query_as_with(select, filter.arguments()?)
            .bind(i64::try_from(supported).unwrap_or(i64::MAX))
            .bind(refused);
        self.planned("plan a replay of dead letters", filter, select).await.map(Plan::of)
    }

    /// Returns up to ten dead letters of a filter that can be replayed, lowest number first; see [`Self::plan_replay`].
    pub async fn sample_replay(
        self,
        filter: &Filter,
        supported: u64,
        refused: &'static [&'static str],
    ) -> Result<Vec<SampledRow>, RepoError> {
        let select = AssertSqlSafe(Plan::sample(CLASSIFY, DLQ_EVENT_FILTER));
        let select = sqlx::query_as_with(select, filter.arguments()?)
            .bind(i64::try_from(supported).unwrap_or(i64::MAX))
            .bind(refused);
        self.planned("sample a replay of dead letters", filter, select).await
    }

    /// Returns up to `limit` undecided dead letters of a filter after the number `after`, lowest number first.
    pub async fn undecided(self, filter: &Filter, after: i64, limit: i64) -> Result<Vec<UndecidedDlqEvent>, RepoError> {
        let select = AssertSqlSafe(format!(
            "SELECT f.* FROM dlq_events f
             WHERE {DLQ_EVENT_FILTER} AND f.status IN ('HELD', 'PARKED') AND f.id > $10 ORDER BY f.id LIMIT $11"
        ));
        let select = sqlx::query_as_with(select, filter.arguments()?).bind(after).bind(limit);
        let rows: Vec<DlqEvent> = self.read("list undecided dead letters", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().map(UndecidedDlqEvent::from).collect())
    }

    /// Returns up to `limit` HELD dead letters after the number `after` whose newer version this build can read, lowest
    /// number first.
    pub async fn held_for_newer_version(
        self,
        supported: u64,
        after: i64,
        limit: i64,
    ) -> Result<Vec<UndecidedDlqEvent>, RepoError> {
        let select = sqlx::query_as(
            "SELECT * FROM dlq_events
             WHERE status = 'HELD' AND error_code = 'NEWER_VERSION' AND event_version <= $1 AND id > $2
             ORDER BY id LIMIT $3",
        )
        .bind(i64::try_from(supported).unwrap_or(i64::MAX))
        .bind(after)
        .bind(limit);
        let rows: Vec<DlqEvent> =
            self.read("list dead letters of newer versions", select.fetch_all(&self.pool())).await?;
        Ok(rows.into_iter().map(UndecidedDlqEvent::from).collect())
    }

    /// Gives an undecided dead letter the status of its decision, and advances the job, with the audit in the same
    /// transaction. `false` when the job is not RUNNING.
    pub async fn settle(
        self,
        hold: Hold,
        id: i64,
        to: DlqEventStatus,
        actor: Actor,
        reason: String,
    ) -> Result<bool, RepoError> {
        self.write("settle a letter", move |pool| async move {
            let mut tx = pool.begin().await?;
            if !advance(&mut tx, &hold, id, None, actor.now).await? {
                return Ok(false);
            }
            let moved = sqlx::query(
                "UPDATE dlq_events SET status = $2, updated_at = $3 WHERE id = $1 AND status IN ('HELD', 'PARKED')",
            )
            .bind(id)
            .bind(to.as_str())
            .bind(actor.now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if moved == 1 {
                let change = serde_json::json!({ "to": to });
                append_audit(&mut tx, &actor, "replay", &format!("dlq_events/{id}"), change, &reason).await?;
            }
            count_success(&mut tx, hold.job_id).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

impl From<DlqEvent> for UndecidedDlqEvent {
    fn from(row: DlqEvent) -> Self {
        Self {
            id: row.id,
            failure: Failure {
                class: row.error_class.parse().unwrap_or(Class::Unknown),
                code: row.error_code,
                message: row.error_message,
                chain: row.stack_trace,
                by_itself: false,
            },
            record: NewDlqEvent {
                topic: row.dlq_topic,
                partition: row.dlq_partition,
                offset: row.dlq_offset,
                timestamp_ms: row.dlq_timestamp_ms,
                origin: (row.origin_topic, row.origin_partition, row.origin_offset),
                key: row.record_key,
                payload: row.payload,
                headers: row.headers,
                attempts: u32::try_from(row.attempts).unwrap_or(0),
            },
        }
    }
}
