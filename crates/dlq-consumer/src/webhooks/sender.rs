//! The sender of one endpoint: sends what is due, one delivery after the other, and notes what came of it.
//!
//! An endpoint may do anything, so a call has a time limit, reads nothing of the answer but its status and headers, follows no
//! redirect and uses no proxy.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    clock::Clock,
    ids::CouponCode,
    repo::{
        Database, RepoError,
        alarms::Notice,
        webhooks::{Delivery, Outcome},
    },
    retry::RetrySchedule,
    runtime::{SettingsError, chain},
};
use reqwest::{Client, StatusCode, header::CONTENT_TYPE, redirect::Policy};
use tokio::time::{sleep, timeout};

use super::{Secrets, address::PublicOnly, settings::Endpoint};
use crate::alarm::retry_after;

/// Time between two looks for deliveries that are due.
const PASS_INTERVAL: Duration = Duration::from_secs(1);
/// Time after a failure in which nothing else is sent to the endpoint.
const FAILURE_PAUSE: TimeDelta = TimeDelta::seconds(5);
/// Longest pause that an endpoint gets by `Retry-After`.
const MAX_RETRY_AFTER: TimeDelta = TimeDelta::hours(24);
/// Time beyond that of a call in which nobody else sends a claimed delivery.
const LEASE_GRACE: TimeDelta = TimeDelta::seconds(15);

/// 10 attempts within 75 hours, waits 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h (Standard Webhooks, Deliverability).
const SCHEDULE: RetrySchedule = RetrySchedule {
    label: "webhook",
    waits: &[
        Duration::from_secs(5),
        Duration::from_mins(5),
        Duration::from_mins(30),
        Duration::from_hours(2),
        Duration::from_hours(5),
        Duration::from_hours(10),
        Duration::from_hours(14),
        Duration::from_hours(20),
        Duration::from_hours(24),
    ],
};

/// Sends deliveries to one endpoint.
pub struct Sender {
    endpoint: Endpoint,
    secrets: Secrets,
    client: Client,
    timeout: Duration,
    database: Database,
    clock: Arc<dyn Clock>,
}

/// Why an endpoint did not take a delivery.
struct Refusal {
    status: Option<StatusCode>,
    error: String,
    /// Time of its `Retry-After`.
    not_before: Option<DateTime<Utc>>,
}

impl Sender {
    /// A sender with the secrets from their files.
    pub fn new(
        endpoint: Endpoint,
        timeout: Duration,
        database: Database,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SettingsError> {
        // `reqwest` takes the provider that the process has installed; each call after the first finds it there.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut client = Client::builder()
            .user_agent(concat!("dlq-consumer/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(Policy::none())
            // Events are rare, and each connection is to an address that was checked for it.
            .pool_max_idle_per_host(0);
        if !endpoint.allow_private {
            client = client.dns_resolver(Arc::new(PublicOnly));
        }
        if endpoint.url.scheme() == "http" {
            // So that a system without CA certificates can still call it.
            client = client.tls_certs_only([]);
        }
        let client = client.build().map_err(|error| {
            let allowed = format!("an address that can be called ({})", chain(&error));
            SettingsError::invalid(format!("webhooks.endpoints.{}.url", endpoint.name), "***", allowed)
        })?;
        Ok(Self { secrets: endpoint.secrets()?, endpoint, client, timeout, database, clock })
    }

    /// Name of the endpoint in the settings.
    pub fn name(&self) -> &str {
        &self.endpoint.name
    }

    /// Sends for ever. While PostgreSQL is away nothing is sent, because nothing could be noted.
    pub async fn run(mut self) {
        let (mut registered, mut failed) = (false, false);
        loop {
            match self.pass(&mut registered).await {
                Ok(()) => failed = false,
                Err(error) if std::mem::replace(&mut failed, true) => {
                    tracing::debug!("deliveries to {} still cannot be read: {}", self.endpoint.name, chain(&error));
                }
                Err(error) => {
                    tracing::warn!("deliveries to {} cannot be read now: {}", self.endpoint.name, chain(&error));
                }
            }
            sleep(PASS_INTERVAL).await;
        }
    }

    async fn pass(&mut self, registered: &mut bool) -> Result<(), RepoError> {
        let (database, name) = (self.database.clone(), self.endpoint.name.clone());
        let webhooks = database.webhooks();
        if !*registered {
            webhooks.register(name.clone(), self.endpoint.url.to_string()).await?;
            *registered = true;
        }
        let lease = TimeDelta::from_std(self.timeout).unwrap_or(LEASE_GRACE) + LEASE_GRACE;
        while let Some(delivery) = webhooks.claim(name.clone(), self.clock.now(), lease).await? {
            self.secrets.read_again();
            let outcome = match self.send(&delivery).await {
                Ok(status) => Outcome::Taken(status.as_u16()),
                Err(refusal) => self.outcome(&delivery, refusal),
            };
            self.report(&delivery, &outcome);
            webhooks.note_outcome(name.clone(), delivery.id, outcome, self.clock.now()).await?;
        }
        Ok(())
    }

    /// Sends a delivery and returns the status of 2xx that the endpoint answers.
    async fn send(&self, delivery: &Delivery) -> Result<StatusCode, Refusal> {
        let without_answer = |error: String| Refusal { status: None, error, not_before: None };
        let request = self.client.post(self.endpoint.url.clone()).header(CONTENT_TYPE, "application/json");
        let request = self.secrets.sign(request, &delivery.webhook_id.to_string(), body(delivery), self.clock.now());
        let answer = timeout(self.timeout, request.send()).await;
        let late = |_| without_answer(format!("does not answer within {} ms", self.timeout.as_millis()));
        let answer = answer.map_err(late)?;
        let answer = answer.map_err(|error| without_answer(chain(&error.without_url()).to_string()))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(status);
        }
        let not_before = retry_after(answer.headers(), self.clock.now(), MAX_RETRY_AFTER);
        let error = if status.is_redirection() {
            format!("answers {}: redirects are not followed", status.as_u16())
        } else {
            format!("answers {}", status.as_u16())
        };
        Err(Refusal { status: Some(status), error, not_before })
    }

    fn outcome(&self, delivery: &Delivery, Refusal { status, error, not_before }: Refusal) -> Outcome {
        let (name, now) = (&self.endpoint.name, self.clock.now());
        let notice = |what: String| Notice {
            cause: format!("WEBHOOK {name}"),
            coupon_code: delivery.coupon_code.parse::<CouponCode>().ok(),
            message: what,
            command: format!("dlq-consumer webhook list --endpoint {name} --status FAILED"),
            now,
        };
        if status == Some(StatusCode::GONE) {
            return Outcome::Gone(notice(format!(
                "the webhook {name} answers 410 and is switched off; webhook resend switches it on again"
            )));
        }
        let pause = not_before.unwrap_or(now).max(now + FAILURE_PAUSE);
        let wait = SCHEDULE.wait_after(u32::try_from(delivery.attempts).unwrap_or(0).saturating_add(1));
        let next_at = wait.map(|wait| pause.max(now + TimeDelta::from_std(wait).unwrap_or(FAILURE_PAUSE)));
        let next_at = next_at.ok_or_else(|| {
            notice(format!("the webhook {name} did not take an event {} times: {error}", SCHEDULE.max_attempts()))
        });
        Outcome::Refused { status: status.map(|status| status.as_u16()), error, next_at, not_before: pause }
    }

    fn report(&self, delivery: &Delivery, outcome: &Outcome) {
        let (endpoint, webhook_id) = (&self.endpoint.name, delivery.webhook_id);
        let (event, delivery_id) = (delivery.kind.as_str(), delivery.id);
        let label = match outcome {
            Outcome::Taken(_) => "taken",
            Outcome::Refused { next_at: Ok(_), .. } => "refused",
            Outcome::Refused { .. } => "given_up",
            Outcome::Gone(_) => "gone",
        };
        metrics::counter!("coupon_webhook_attempts_total", "endpoint" => endpoint.clone(), "outcome" => label)
            .increment(1);
        match outcome {
            Outcome::Taken(_) => tracing::info!(endpoint, event, %webhook_id, "{event} is sent to {endpoint}"),
            Outcome::Refused { error, .. } => {
                tracing::warn!(
                    endpoint, event, %webhook_id, delivery_id,
                    "{endpoint} did not take {event} ({label}): {error}; look with `dlq-consumer webhook list --endpoint {endpoint}`"
                );
            }
            Outcome::Gone(_) => {
                tracing::error!(
                    endpoint, event, %webhook_id, delivery_id,
                    "{endpoint} answers 410 and is switched off: `dlq-consumer webhook resend {delivery_id} --by NAME` switches it on"
                );
            }
        }
    }
}

/// Returns the payload: the same bytes at each attempt.
fn body(delivery: &Delivery) -> String {
    let mut data = serde_json::Map::from_iter([("coupon".to_owned(), delivery.coupon_code.clone().into())]);
    if let Some(told) = delivery.data.as_object() {
        data.extend(told.clone());
    }
    serde_json::json!({ "type": delivery.kind, "timestamp": delivery.occurred_at, "data": data }).to_string()
}
