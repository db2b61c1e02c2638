//! `GET /api/v1/coupons/{code}`: a campaign as members see it.

use std::sync::Arc;

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::HeaderMap,
};
use chrono::{DateTime, SecondsFormat, Utc};
use coupon_core::{
    clock::from_unix_ms,
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus, ShownStatus},
    stock::{Refused, View},
};
use serde::Serialize;

use super::{
    Api, Problem, request,
    status::{Private, private},
};
use crate::accept::NotHeld;

/// A campaign.
#[derive(Serialize)]
pub(super) struct Answer {
    code: CouponCode,
    status: String,
    opens_at: Option<String>,
    closes_at: Option<String>,
    total: i64,
    remaining: i64,
}

/// Answers from Redis; what Redis does not know, from PostgreSQL.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Private<Answer>, Problem> {
    request::member(&api, &headers).await?;
    let code = request::coupon_code(path)?;
    let view = api.accept.stock.view(&code).await.map_err(|_| NotHeld::NoAnswer)?;
    if let Some(view) = view {
        return Ok(private(from_view(code, &view, api.accept.clock.now())));
    }
    let row = api.accept.lookup.coupon(&code).await.map_err(NotHeld::from)?;
    let row = row.ok_or(NotHeld::Refused(Refused::Missing))?;
    Ok(private(from_row(row, api.accept.clock.now())))
}

fn from_view(code: CouponCode, view: &View, now: DateTime<Utc>) -> Answer {
    let window = (from_unix_ms(view.opens_at_ms), view.closes_at_ms.map(from_unix_ms));
    // Redis says FILLING to what everywhere else is OPENING.
    let status = if view.is_filling() { Ok(CouponStatus::Opening) } else { view.status.parse() };
    let status = status.map_or(view.status.as_str(), |status| ShownStatus::of(status, window, now).as_str());
    Answer {
        code,
        status: status.to_owned(),
        opens_at: Some(text(from_unix_ms(view.opens_at_ms))),
        closes_at: view.closes_at_ms.map(|ms| text(from_unix_ms(ms))),
        total: view.total,
        remaining: (view.total - view.issued).max(0),
    }
}

fn from_row(row: Coupon, now: DateTime<Utc>) -> Answer {
    Answer {
        status: row.shown(now).to_string(),
        code: row.coupon_code,
        opens_at: Some(text(row.opens_at)),
        closes_at: row.closes_at.map(text),
        total: row.total_quantity,
        remaining: (row.total_quantity - row.issued_quantity).max(0),
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
