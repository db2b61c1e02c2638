//! Webhooks: what was sent to which endpoint, and sending it again.

use coupon_core::repo::{
    RepoError,
    webhooks::{DeliveryFilter, DeliveryRow, EndpointRow},
};

use crate::Operations;

/// Why a delivery is not sent again.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no such delivery.
    #[error("there is no delivery {0}; `dlq-consumer webhook list` shows them all")]
    Unknown(i64),
    /// PostgreSQL failed.
    #[error("it did not end, and may be repeated")]
    Repo(#[from] RepoError),
}

impl Operations {
    /// Returns up to `limit` deliveries of webhooks, newest first.
    pub async fn webhook_deliveries(&self, filter: &DeliveryFilter, limit: i64) -> Result<Vec<DeliveryRow>, RepoError> {
        self.database.webhooks().deliveries(filter, limit).await
    }

    /// Returns the endpoints that a service has ever named, by name, and how they fare.
    pub async fn webhook_endpoints(&self) -> Result<Vec<EndpointRow>, RepoError> {
        self.database.webhooks().endpoints().await
    }

    /// Sends a delivery again, also one that its endpoint took: with its first webhook-id, at once, by the service. An endpoint
    /// that was switched off is on again. Returns the name of the endpoint.
    pub async fn resend_webhook(&self, id: i64) -> Result<String, WebhookError> {
        let endpoint = self.database.webhooks().send_again(id, self.me()).await?;
        endpoint.ok_or(WebhookError::Unknown(id))
    }
}
