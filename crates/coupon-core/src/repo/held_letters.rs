//! Dead letters on which there is no decision yet, HELD or PARKED, and what an operator has done with them.

use sqlx::Arguments;

use super::{
    Database, RepoError,
    coupons::{Actor, append_audit},
    dead_letters::{DlqEventStatus, NewDlqEvent},
    filter::{DLQ_EVENT_FILTER, Filter},
    replays::{Plan, advance},
};
use crate::failure::{Class, Failure};

/// An undecided letter, whole.
#[derive(Clone, Debug)]
pub struct UndecidedDlqEvent {
    /// Number.
    pub id: i64,
    /// The record.
    pub letter: NewDlqEvent,
    /// The failure it was put down with.
    pub failure: Failure,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    dlq_topic: String,
    dlq_partition: i32,
    dlq_offset: i64,
    dlq_timestamp_ms: i64,
    origin_topic: Option<String>,
    origin_partition: Option<i32>,
    origin_offset: Option<i64>,
    record_key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: serde_json::Value,
    attempts: i32,
    error_class: String,
    error_code: String,
    error_message: String,
    stack_trace: String,
}

/// What stands against deciding the letter `f`, as far as the database can tell.
const VERDICT: &str = "
    CASE WHEN f.status NOT IN ('HELD', 'PARKED') THEN 'DECIDED'
         WHEN f.original_event_id IS NULL AND f.event_version IS NULL THEN 'UNREADABLE'
         WHEN f.event_version > $10 THEN 'NEWER_VERSION'
         WHEN f.error_code = 'OTHER_MEMBER' THEN 'OTHER_MEMBER'
         WHEN f.coupon_code IS NOT NULL AND c.coupon_id IS NULL THEN 'COUPON_UNKNOWN'
         WHEN c.archived_at IS NOT NULL THEN 'ARCHIVED'
    END AS refusal
    FROM dlq_events f LEFT JOIN coupons c ON c.coupon_code = f.coupon_code";

impl Database {
    /// Counts the letters that a filter means; `supported` is the newest version of the event that can be read.
    pub async fn plan_letters(&self, filter: &Filter, supported: u64) -> Result<Plan, RepoError> {
        let pool = self.pool();
        let sql = format!(
            "SELECT refusal, count(*), max(id) FROM (SELECT f.id, {VERDICT} WHERE {DLQ_EVENT_FILTER}) AS judged GROUP BY refusal"
        );
        let question = async {
            let mut arguments = filter.arguments()?;
            arguments.add(i64::try_from(supported).unwrap_or(i64::MAX)).map_err(sqlx::Error::Encode)?;
            sqlx::query_as_with(sqlx::AssertSqlSafe(sql), arguments).fetch_all(&pool).await
        };
        let rows: Vec<(Option<String>, i64, i64)> = self.patient("plan what to do with letters", question).await?;
        Ok(Plan::of(rows))
    }

    /// The next undecided letters of a filter after `after`, lowest number first.
    pub async fn undecided_letters(
        &self,
        filter: &Filter,
        after: i64,
        limit: i64,
    ) -> Result<Vec<UndecidedDlqEvent>, RepoError> {
        let pool = self.pool();
        let sql = format!(
            "SELECT f.* FROM dlq_events f
             WHERE {DLQ_EVENT_FILTER} AND f.status IN ('HELD', 'PARKED') AND f.id > $10 ORDER BY f.id LIMIT $11"
        );
        let question = async {
            let mut arguments = filter.arguments()?;
            arguments.add(after).map_err(sqlx::Error::Encode)?;
            arguments.add(limit).map_err(sqlx::Error::Encode)?;
            sqlx::query_as_with(sqlx::AssertSqlSafe(sql), arguments).fetch_all(&pool).await
        };
        let rows: Vec<Row> = self.bounded("list undecided letters", question).await?;
        Ok(rows.into_iter().map(Row::whole).collect())
    }

    /// HELD letters whose events this build can read by now, lowest number first, after `after`.
    pub async fn letters_held_for_an_upgrade(
        &self,
        supported: u64,
        after: i64,
        limit: i64,
    ) -> Result<Vec<UndecidedDlqEvent>, RepoError> {
        let pool = self.pool();
        let question = sqlx::query_as(
            "SELECT * FROM dlq_events
             WHERE status = 'HELD' AND error_code = 'NEWER_VERSION' AND event_version <= $1 AND id > $2
             ORDER BY id LIMIT $3",
        )
        .bind(i64::try_from(supported).unwrap_or(i64::MAX))
        .bind(after)
        .bind(limit)
        .fetch_all(&pool);
        let rows: Vec<Row> = self.bounded("list letters held for an upgrade", question).await?;
        Ok(rows.into_iter().map(Row::whole).collect())
    }

    /// Moves an undecided letter to where its decision puts it, with the audit and the progress of the job in the same
    /// transaction. `false` when the letter was moved before, or the job does not run any more.
    pub async fn settle_letter(
        &self,
        job_id: i64,
        letter: i64,
        to: DlqEventStatus,
        actor: Actor,
        reason: String,
    ) -> Result<bool, RepoError> {
        self.detached("settle a letter", move |pool| async move {
            let mut tx = pool.begin().await?;
            if !advance(&mut tx, job_id, letter, None, actor.now).await? {
                return Ok(false);
            }
            let moved = sqlx::query(
                "UPDATE dlq_events SET status = $2, updated_at = $3 WHERE id = $1 AND status IN ('HELD', 'PARKED')",
            )
            .bind(letter)
            .bind(to.as_str())
            .bind(actor.now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
            if moved == 1 {
                let change = serde_json::json!({ "to": to });
                append_audit(&mut tx, &actor, "replay", &format!("dlq_events/{letter}"), change, &reason).await?;
            }
            count_success(&mut tx, job_id).await?;
            tx.commit().await?;
            Ok(true)
        })
        .await
    }
}

async fn count_success(tx: &mut sqlx::PgConnection, job_id: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE replay_jobs SET succeeded = succeeded + 1 WHERE job_id = $1")
        .bind(job_id)
        .execute(tx)
        .await
        .map(drop)
}

impl Row {
    fn whole(self) -> UndecidedDlqEvent {
        UndecidedDlqEvent {
            id: self.id,
            failure: Failure {
                class: self.error_class.parse().unwrap_or(Class::Unknown),
                code: self.error_code,
                message: self.error_message,
                chain: self.stack_trace,
                by_itself: false,
            },
            letter: NewDlqEvent {
                topic: self.dlq_topic,
                partition: self.dlq_partition,
                offset: self.dlq_offset,
                timestamp_ms: self.dlq_timestamp_ms,
                origin: (self.origin_topic, self.origin_partition, self.origin_offset),
                key: self.record_key,
                payload: self.payload,
                headers: self.headers,
                attempts: u32::try_from(self.attempts).unwrap_or(0),
            },
        }
    }
}
