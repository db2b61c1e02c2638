//! `GET /api/v1/coupons/{code}`: a campaign as everybody sees it, to be polled through a cache.
//!
//! The answer says nothing of whoever asks, and its tag is that of its bytes. The time of the server in it has whole seconds,
//! so that all replicas say the same within a second.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use chrono::{DateTime, SecondsFormat, Utc};
use coupon_core::{
    clock::from_unix_ms,
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus as Status, ShownStatus},
    stock::{Refused, View},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Api, Problem,
    openapi::{CODE_PATTERN, CouponStatus},
    request,
};
use crate::accept::NotHeld;

/// Value of `Cache-Control` where anybody may ask.
const PUBLIC: HeaderValue = HeaderValue::from_static("public, max-age=1");
/// The same where a token is asked for: a cache that others share has not seen it verified.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, max-age=1");

/// A campaign as everybody sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Coupon")]
pub(super) struct Answer {
    /// The public name of the campaign.
    #[schemars(with = "String", pattern(CODE_PATTERN))]
    pub(super) code: CouponCode,
    // Described by its type.
    #[schemars(with = "CouponStatus")]
    pub(super) status: ShownStatus,
    /// First moment at which requests are accepted.
    #[schemars(extend("format" = "date-time"))]
    pub(super) opens_at: String,
    /// First moment at which they no longer are; null: until it is closed by hand.
    #[schemars(extend("format" = "date-time"))]
    pub(super) closes_at: Option<String>,
    /// Coupons in all.
    #[schemars(range(min = 0))]
    pub(super) total: i64,
    /// Coupons that nobody holds.
    #[schemars(range(min = 0))]
    pub(super) remaining: i64,
    /// The time of the server when it answered, in whole seconds, for countdowns. An answer from a cache is older by the
    /// seconds of its header Age.
    #[schemars(extend("format" = "date-time"))]
    pub(super) server_time: String,
}

/// Answers from Redis; what Redis does not know, from PostgreSQL.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !api.public_campaigns {
        request::member(&api, &headers).await?;
    }
    let code = request::coupon_code(path)?;
    let view = api.accept.view(&code).await?;
    let answer = if let Some(view) = view {
        from_view(code, &view, api.accept.now())
    } else {
        let row = api.accept.row(&code).await?.ok_or(NotHeld::Refused(Refused::Missing))?;
        from_row(row, api.accept.now())
    };
    let cache_control = if api.public_campaigns { PUBLIC } else { PRIVATE };
    Ok(tagged(&answer, headers.get(IF_NONE_MATCH), cache_control))
}

/// The answer with its tag, or 304 to whoever has it already.
fn tagged(answer: &Answer, known: Option<&HeaderValue>, cache_control: HeaderValue) -> Response {
    let body = serde_json::to_vec(answer).expect("a struct of texts and numbers always serialises");
    // The hash of a build, so that replicas of one release agree; between two releases a cache only asks once more.
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let is_known = known.and_then(|known| known.to_str().ok()).is_some_and(|known| matches(known, &tag));
    let headers = [(CACHE_CONTROL, cache_control), (ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits"))];
    if is_known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Whether `If-None-Match` names a tag (RFC 9110, section 13.1.2: the comparison is weak).
fn matches(known: &str, tag: &str) -> bool {
    known.split(',').map(str::trim).any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag)
}

fn from_view(code: CouponCode, view: &View, now: DateTime<Utc>) -> Answer {
    let window = (from_unix_ms(view.opens_at_ms), view.closes_at_ms.map(from_unix_ms));
    // Redis says FILLING to what everywhere else is OPENING. A word that it never writes is data that somebody has damaged.
    let status = if view.is_filling() { Status::Opening } else { view.status.parse().unwrap_or(Status::Suspect) };
    Answer {
        code,
        status: ShownStatus::of(status, window, now),
        opens_at: text(window.0),
        closes_at: window.1.map(text),
        total: view.total,
        remaining: (view.total - view.issued).max(0),
        server_time: seconds(now),
    }
}

fn from_row(row: Coupon, now: DateTime<Utc>) -> Answer {
    Answer {
        status: row.shown(now),
        code: row.coupon_code,
        opens_at: text(row.opens_at),
        closes_at: row.closes_at.map(text),
        total: row.total_quantity,
        remaining: (row.total_quantity - row.issued_quantity).max(0),
        server_time: seconds(now),
    }
}

pub(super) fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn seconds(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_compared_as_the_rfc_says() {
        let tag = "\"0123\"";
        for same in ["\"0123\"", "W/\"0123\"", "\"x\", \"0123\"", "*"] {
            assert!(matches(same, tag), "{same}");
        }
        for other in ["", "0123", "\"01234\"", "w/\"0123\""] {
            assert!(!matches(other, tag), "{other}");
        }
    }

    #[test]
    fn the_time_of_the_server_is_cut_to_the_second_so_that_replicas_agree() {
        assert_eq!(seconds(from_unix_ms(1_700_000_000_999)), "2023-11-14T22:13:20Z");
    }
}
