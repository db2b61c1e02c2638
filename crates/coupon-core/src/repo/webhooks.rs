//! Webhooks: what happens to campaigns (`campaign_events`), the endpoints that are told of it (`webhook_endpoints`) and what is
//! sent to each (`webhook_deliveries`).
//!
//! An event is written in the transaction of the change that it tells of: by a trigger on `coupons`, by the note of a give-back,
//! and by the record of a reconciliation. The end of a window changes nothing, so a service looks for it
//! ([`WebhookRepository::tell_ended_windows`]). A service makes the deliveries of it later ([`WebhookRepository::hand_out`]). A
//! delivery is claimed for a time, sent, and noted; a crash between the last two sends it twice, with the same webhook-id.

mod deliveries;
mod endpoints;

pub use deliveries::{Delivery, DeliveryFilter, DeliveryRow, DeliveryStatus, Outcome};
pub use endpoints::EndpointRow;

use chrono::{DateTime, Utc};

use super::{RepoError, WebhookRepository};
use crate::words::words;

words! {
    /// What happens to a campaign.
    pub enum CampaignEventKind as "event of a campaign" {
        /// It became OPEN: by an operator, or at the end of a rebuild. Its window may begin later.
        Opened = "opened",
        /// The counter reached the total: the last unit was written as ISSUED, or the total was lowered to what is issued.
        SoldOut = "sold_out",
        /// It became CLOSED, or its window has ended while it was OPEN.
        Closed = "closed",
        /// It became SUSPECT, and accepts nothing.
        Suspect = "suspect",
        /// A request was compensated, and its unit is free again.
        UnitReturned = "unit_returned",
        /// A reconciliation found drift, and left it.
        DriftFound = "drift_found",
    }
}

impl WebhookRepository<'_> {
    /// Writes the event `closed` of each OPEN campaign whose window has ended by `now`, once for each end. Returns the number of
    /// events. Where the clock of the process is ahead of that of PostgreSQL, the latter counts: told too early is told for good.
    pub async fn tell_ended_windows(self, now: DateTime<Utc>) -> Result<i64, RepoError> {
        self.write("tell of ended windows", move |pool| async move {
            sqlx::query_scalar("SELECT tell_ended_windows(least($1, clock_timestamp()))")
                .bind(now)
                .fetch_one(&pool)
                .await
        })
        .await
    }

    /// Makes the deliveries of up to `limit` new events: to each endpoint that wants events of the kind and is not switched off.
    /// `subscriptions` has an endpoint and a kind of event in each place. Returns the number of events; other processes hand
    /// out others meanwhile.
    pub async fn hand_out(self, subscriptions: Vec<(String, CampaignEventKind)>, limit: i64) -> Result<i64, RepoError> {
        let (endpoints, kinds): (Vec<String>, Vec<&str>) =
            subscriptions.into_iter().map(|(endpoint, kind)| (endpoint, kind.as_str())).unzip();
        self.write("hand events out", move |pool| async move {
            sqlx::query_scalar(
                "WITH new AS (
                     SELECT id FROM campaign_events WHERE NOT handed_out ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED
                 ), handed_out AS (
                     UPDATE campaign_events e SET handed_out = true FROM new WHERE e.id = new.id RETURNING e.id, e.kind
                 ), made AS (
                     INSERT INTO webhook_deliveries (endpoint, event_id, next_at, created_at)
                     SELECT wanted.endpoint, handed_out.id, now(), now()
                     FROM handed_out JOIN unnest($1::text[], $2::text[]) AS wanted (endpoint, kind) USING (kind)
                     WHERE NOT EXISTS (
                         SELECT FROM webhook_endpoints e WHERE e.endpoint = wanted.endpoint AND e.off_at IS NOT NULL)
                     ORDER BY handed_out.id
                     ON CONFLICT (event_id, endpoint) DO NOTHING
                 )
                 SELECT count(*) FROM handed_out",
            )
            .bind(endpoints)
            .bind(kinds)
            .bind(limit)
            .fetch_one(&pool)
            .await
        })
        .await
    }
}
