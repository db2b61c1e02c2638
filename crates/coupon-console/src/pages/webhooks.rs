//! `/webhooks`: what was sent to webhooks, how their endpoints fare, and sending again.

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::repo::webhooks::{DeliveryFilter, DeliveryRow, DeliveryStatus, EndpointRow};
use coupon_operations::webhooks::WebhookError;
use serde::{Deserialize, Serialize};

use crate::{
    Console,
    access::{Caller, urlencode},
    answer::{Failure, Frame, View},
    params::{self, Form, reason},
    tile::Tile,
};

/// Rows of a page.
const PAGE_ROWS: i64 = 50;

/// The page.
#[derive(Debug, Serialize)]
struct Webhooks {
    now: DateTime<Utc>,
    /// The endpoints that a service has ever named.
    endpoints: Tile<Vec<EndpointRow>>,
    /// Deliveries, newest first.
    deliveries: Tile<Vec<DeliveryRow>>,
    /// Path and query of the next page.
    older: Option<String>,
}

/// The query of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asked {
    /// Only deliveries to this endpoint.
    endpoint: Option<String>,
    /// Only deliveries of this status.
    status: Option<String>,
    /// Only lower numbers: the next page.
    before: Option<i64>,
}

/// The form by which a delivery is sent again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resend {
    /// Why.
    reason: String,
}

#[derive(Template)]
#[template(path = "webhooks.html")]
struct WebhooksPage<'a> {
    frame: &'a Frame,
    page: &'a Webhooks,
}

impl View for Webhooks {
    fn title(&self) -> String {
        "Webhooks".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        WebhooksPage { frame, page: self }.render()
    }
}

impl From<WebhookError> for Failure {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Repo(error) => error.into(),
            WebhookError::Unknown(_) => Self::not_found(error.to_string()),
        }
    }
}

pub(super) async fn list(State(console): State<Console>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let answer = async {
        let Asked { endpoint, status, before } = params::query(query.as_deref())?;
        let known = status.as_deref().map(str::parse::<DeliveryStatus>).transpose();
        let known = known.map_err(|error| Failure::bad_input(format!("status: {error}")))?;
        let filter = DeliveryFilter { endpoint: endpoint.clone(), status: known, before };
        let (operations, server) = (&console.operations, "PostgreSQL");
        let (endpoints, deliveries) = tokio::join!(
            Tile::of(server, operations.webhook_endpoints()),
            Tile::of(server, operations.webhook_deliveries(&filter, PAGE_ROWS)),
        );
        let last = match &deliveries {
            Tile::Known(rows) if i64::try_from(rows.len()) == Ok(PAGE_ROWS) => rows.last().map(|row| row.id),
            _ => None,
        };
        let older = last.map(|last| {
            let kept = [("endpoint", endpoint), ("status", status)];
            let kept = kept.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", urlencode(&value?))));
            format!("/webhooks?before={last}{}", kept.collect::<String>())
        });
        let now = operations.clock.now();
        Ok::<_, Failure>(console.show(&caller, &Webhooks { now, endpoints, deliveries, older }))
    };
    console.answer(&caller, answer.await)
}

pub(super) async fn resend(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<Resend>,
) -> Response {
    let answer = async {
        let id: i64 = id.parse().map_err(|_| Failure::not_found(format!("there is no delivery {id}")))?;
        let operations = console.operations.in_the_name_of(caller.identity(&reason(&form?.reason)?));
        let endpoint = operations.resend_webhook(id).await?;
        let sent = serde_json::json!({ "delivery": id, "endpoint": endpoint });
        Ok::<_, Failure>(console.done(&caller, "/webhooks", "sent", &sent))
    };
    console.answer(&caller, answer.await)
}
