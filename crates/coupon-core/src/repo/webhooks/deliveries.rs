//! Deliveries: what is sent to which endpoint.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::CampaignEventKind;
use crate::{
    repo::{
        RepoError, WebhookRepository,
        alarms::{Notice, insert_notice},
        audit::{Actor, append_audit},
    },
    words::words,
};

words! {
    /// Status of a delivery.
    pub enum DeliveryStatus as "status of a delivery" {
        /// It is sent at its next time.
        Pending = "PENDING",
        /// The endpoint took it.
        Delivered = "DELIVERED",
        /// It is not tried again by itself.
        Failed = "FAILED",
    }
}

/// A delivery that this process has claimed.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Delivery {
    /// Number.
    pub id: i64,
    /// The header webhook-id, the same at each attempt.
    pub webhook_id: Uuid,
    /// Kind of the event.
    #[sqlx(try_from = "String")]
    pub kind: CampaignEventKind,
    /// Campaign.
    pub coupon_code: String,
    /// What is told with it.
    pub data: Value,
    /// Time of the event.
    pub occurred_at: DateTime<Utc>,
    /// Attempts before this one.
    pub attempts: i32,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered with this status of 2xx.
    Taken(u16),
    /// It did not take it: with this status, if it answered.
    Refused {
        /// Status of the answer.
        status: Option<u16>,
        /// Why, without the address.
        error: String,
        /// When the delivery is tried again; `None`: it is FAILED, and this notice is left.
        next_at: Result<DateTime<Utc>, Notice>,
        /// Time before which nothing else is sent to the endpoint.
        not_before: DateTime<Utc>,
    },
    /// It answered 410: it is switched off, and all that waits for it is FAILED.
    Gone(Notice),
}

/// A delivery as operators see it.
#[derive(Clone, Debug, sqlx::FromRow, serde::Serialize)]
pub struct DeliveryRow {
    /// Number.
    pub id: i64,
    /// Name of the endpoint in the settings.
    pub endpoint: String,
    /// Kind of the event.
    pub event: String,
    /// Campaign.
    pub coupon_code: String,
    /// The header webhook-id.
    pub webhook_id: Uuid,
    /// Status.
    pub status: String,
    /// Attempts since it was made or sent again by hand.
    pub attempts: i32,
    /// Time of the next attempt; without a meaning unless it is PENDING.
    pub next_at: DateTime<Utc>,
    /// Status of the last answer.
    pub last_status: Option<i32>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// Time at which it was made.
    pub created_at: DateTime<Utc>,
    /// Time at which the endpoint took it.
    pub delivered_at: Option<DateTime<Utc>>,
}

/// A choice of deliveries; an absent field restricts nothing.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only those to this endpoint.
    pub endpoint: Option<String>,
    /// Only those of this status.
    pub status: Option<DeliveryStatus>,
    /// Only lower numbers: the next page.
    pub before: Option<i64>,
}

impl WebhookRepository<'_> {
    /// Claims the delivery to an endpoint that is due first; nobody else sends it before `lease` is over. `None` when nothing is
    /// due, or the endpoint is switched off or asked not to be called.
    pub async fn claim(
        self,
        endpoint: String,
        now: DateTime<Utc>,
        lease: TimeDelta,
    ) -> Result<Option<Delivery>, RepoError> {
        self.write("claim a webhook delivery", move |pool| async move {
            sqlx::query_as(
                "WITH due AS (
                     SELECT d.id FROM webhook_deliveries d
                     WHERE d.endpoint = $1 AND d.status = 'PENDING' AND d.next_at <= $2
                       AND NOT EXISTS (
                           SELECT FROM webhook_endpoints e
                           WHERE e.endpoint = $1 AND (e.off_at IS NOT NULL OR e.not_before > $2))
                     ORDER BY d.next_at, d.id LIMIT 1 FOR UPDATE OF d SKIP LOCKED
                 ), claimed AS (
                     UPDATE webhook_deliveries d SET next_at = $3 FROM due WHERE d.id = due.id
                     RETURNING d.id, d.event_id, d.attempts
                 )
                 SELECT claimed.id, e.webhook_id, e.kind, e.coupon_code, e.data, e.occurred_at, claimed.attempts
                 FROM claimed JOIN campaign_events e ON e.id = claimed.event_id",
            )
            .bind(endpoint)
            .bind(now)
            .bind(now + lease)
            .fetch_optional(&pool)
            .await
        })
        .await
    }

    /// Notes how an attempt ended, and how its endpoint fares. A delivery that another process has noted as DELIVERED stays so.
    pub async fn note_outcome(
        self,
        endpoint: String,
        id: i64,
        outcome: Outcome,
        now: DateTime<Utc>,
    ) -> Result<(), RepoError> {
        let (status, code, error, next_at, not_before, notice) = match outcome {
            Outcome::Taken(code) => (DeliveryStatus::Delivered, Some(code), None, now, None, None),
            Outcome::Refused { status, error, next_at: Ok(at), not_before } => {
                (DeliveryStatus::Pending, status, Some(error), at, Some(not_before), None)
            }
            Outcome::Refused { status, error, next_at: Err(notice), not_before } => {
                (DeliveryStatus::Failed, status, Some(error), now, Some(not_before), Some(notice))
            }
            Outcome::Gone(notice) => {
                (DeliveryStatus::Failed, Some(410), Some("answers 410".to_owned()), now, None, Some(notice))
            }
        };
        let is_gone = code == Some(410);
        self.write("note a webhook delivery", move |pool| async move {
            let mut tx = pool.begin().await?;
            sqlx::query(
                "UPDATE webhook_deliveries
                 SET status = $2, attempts = attempts + 1, next_at = $3, last_status = $4, last_error = $5,
                     delivered_at = CASE WHEN $2 = 'DELIVERED' THEN $6 END
                 WHERE id = $1 AND status <> 'DELIVERED'",
            )
            .bind(id)
            .bind(status.as_str())
            .bind(next_at)
            .bind(code.map(i32::from))
            .bind(&error)
            .bind(now)
            .execute(&mut *tx)
            .await?;
            // An endpoint that works is not written at each delivery.
            sqlx::query(
                "UPDATE webhook_endpoints
                 SET failing_since = CASE WHEN $2::text IS NOT NULL THEN coalesce(failing_since, $3) END, last_error = $2,
                     not_before = $4, off_at = CASE WHEN $5 THEN $3 ELSE off_at END
                 WHERE endpoint = $1 AND ($2::text IS NOT NULL OR last_error IS NOT NULL)",
            )
            .bind(&endpoint)
            .bind(&error)
            .bind(now)
            .bind(not_before)
            .bind(is_gone)
            .execute(&mut *tx)
            .await?;
            if is_gone {
                // Retention counts from the failure, not from an attempt that does not come.
                sqlx::query(
                    "UPDATE webhook_deliveries
                     SET status = 'FAILED', next_at = $2, last_error = 'the endpoint is switched off'
                     WHERE endpoint = $1 AND status = 'PENDING'",
                )
                .bind(&endpoint)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            }
            if let Some(notice) = notice {
                insert_notice(&notice).execute(&mut *tx).await?;
            }
            tx.commit().await
        })
        .await
    }

    /// Sends a delivery again, at once and as if it had not been tried, and switches its endpoint on, with its audit. Returns
    /// the name of the endpoint; `None` when there is no such delivery.
    pub async fn send_again(self, id: i64, actor: Actor) -> Result<Option<String>, RepoError> {
        self.write("send a delivery again", move |pool| async move {
            let mut tx = pool.begin().await?;
            let sent: Option<(String, String)> = sqlx::query_as(
                "UPDATE webhook_deliveries d SET status = 'PENDING', attempts = 0, next_at = $2, delivered_at = NULL
                 FROM webhook_deliveries before WHERE d.id = $1 AND before.id = d.id RETURNING d.endpoint, before.status",
            )
            .bind(id)
            .bind(actor.now)
            .fetch_optional(&mut *tx)
            .await?;
            let Some((endpoint, before)) = sent else { return Ok(None) };
            sqlx::query("UPDATE webhook_endpoints SET off_at = NULL, not_before = NULL WHERE endpoint = $1")
                .bind(&endpoint)
                .execute(&mut *tx)
                .await?;
            let change = serde_json::json!({ "from": before, "to": "PENDING", "endpoint": endpoint });
            let subject = format!("webhook_deliveries/{id}");
            append_audit(&mut tx, &actor, "webhook.resend", &subject, change, &actor.by.reason).await?;
            tx.commit().await?;
            Ok(Some(endpoint))
        })
        .await
    }

    /// Returns up to `limit` deliveries, newest first.
    pub async fn deliveries(self, filter: &DeliveryFilter, limit: i64) -> Result<Vec<DeliveryRow>, RepoError> {
        let select = sqlx::query_as(
            "SELECT d.id, d.endpoint, e.kind AS event, e.coupon_code, e.webhook_id, d.status, d.attempts, d.next_at,
                    d.last_status, d.last_error, d.created_at, d.delivered_at
             FROM webhook_deliveries d JOIN campaign_events e ON e.id = d.event_id
             WHERE ($1::text IS NULL OR d.endpoint = $1) AND ($2::text IS NULL OR d.status = $2)
               AND ($3::bigint IS NULL OR d.id < $3)
             ORDER BY d.id DESC LIMIT $4",
        )
        .bind(&filter.endpoint)
        .bind(filter.status.map(DeliveryStatus::as_str))
        .bind(filter.before)
        .bind(limit);
        self.read("list webhook deliveries", select.fetch_all(&self.pool())).await
    }
}
