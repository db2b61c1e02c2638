//! The endpoints of the settings, and how they fare.

use chrono::{DateTime, Utc};

use crate::repo::{RepoError, WebhookRepository};

/// An endpoint and how it fares.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow, serde::Serialize)]
pub struct EndpointRow {
    /// Name in the settings.
    pub endpoint: String,
    /// When a service first named it.
    pub created_at: DateTime<Utc>,
    /// When it was switched off, because it answered 410; `None` while it is on.
    pub off_at: Option<DateTime<Utc>>,
    /// Time before which nothing is sent to it.
    pub not_before: Option<DateTime<Utc>>,
    /// Time of the first failure since the last success; `None` while it works.
    pub failing_since: Option<DateTime<Utc>>,
    /// Last failure; `None` while it works.
    pub last_error: Option<String>,
    /// Deliveries that wait for it.
    pub pending: i64,
    /// Deliveries that are not tried again by themselves.
    pub failed: i64,
}

impl WebhookRepository<'_> {
    /// Registers an endpoint of the settings. One that was switched off is on again if its address is another one.
    pub async fn register(self, endpoint: String, address: String) -> Result<(), RepoError> {
        let upsert = sqlx::query(
            "INSERT INTO webhook_endpoints AS known (endpoint, address_hash, created_at)
             VALUES ($1, sha256(convert_to($2, 'UTF8')), now())
             ON CONFLICT (endpoint) DO UPDATE
             SET address_hash = excluded.address_hash, off_at = NULL, not_before = NULL, failing_since = NULL, last_error = NULL
             WHERE known.address_hash <> excluded.address_hash",
        );
        self.execute("register a webhook", upsert.bind(endpoint).bind(address)).await.map(drop)
    }

    /// Returns all endpoints that were ever registered, by name.
    pub async fn endpoints(self) -> Result<Vec<EndpointRow>, RepoError> {
        let select = sqlx::query_as(
            "SELECT e.endpoint, e.created_at, e.off_at, e.not_before, e.failing_since, e.last_error,
                    count(d.id) FILTER (WHERE d.status = 'PENDING') AS pending,
                    count(d.id) FILTER (WHERE d.status = 'FAILED') AS failed
             FROM webhook_endpoints e LEFT JOIN webhook_deliveries d
               ON d.endpoint = e.endpoint AND d.status IN ('PENDING', 'FAILED')
             GROUP BY e.endpoint ORDER BY e.endpoint",
        );
        self.read("list webhooks", select.fetch_all(&self.pool())).await
    }
}
