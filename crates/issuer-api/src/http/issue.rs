//! `POST /api/v1/coupons/{code}/issues`: a member asks for a coupon.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, LOCATION},
    },
    response::{IntoResponse, Response},
};
use coupon_core::ids::CouponCode;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    Api, Code, Problem, body,
    guard::{Outcome, REQUEST_NAME, finish, guarded},
    identity,
    problem::NO_STORE,
};
use crate::{accept::NotHeld, standing::State as Progress};

/// After this a gate may be open again, or Redis be back.
const AGAIN: Duration = Duration::from_secs(1);
/// After this a campaign whose data was lost may have been rebuilt, or a server set as it has to be: somebody has to be told,
/// look, and run a command.
const AFTER_A_REPAIR: Duration = Duration::from_secs(30);

/// What the answers to a member who holds a coupon are counted as.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    /// Kafka has it.
    Accepted,
    /// It is in the outbox.
    Reserved,
    /// The member had asked before.
    Repeated,
}

impl Held {
    /// All of them.
    pub(super) const ALL: &[Self] = &[Self::Accepted, Self::Reserved, Self::Repeated];

    /// The word in the metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::Reserved => "RESERVED",
            Self::Repeated => "REPEATED",
        }
    }
}

#[derive(Serialize)]
struct Answer {
    request_id: String,
    coupon_code: CouponCode,
    state: &'static str,
}

/// Answers 202, or 200 when the member had asked before.
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let started = Instant::now();
    let name = headers.get(REQUEST_NAME).cloned();
    let (outcome, response) = match guarded(&api, answer(&api, path, &headers, body)).await {
        Ok((held, response)) => (Outcome::Held(held), response),
        Err(problem) => (Outcome::Problem(problem.code()), problem.into_response()),
    };
    api.meters.count(outcome, started);
    finish(response, name.as_ref())
}

async fn answer(
    api: &Api,
    path: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Held, Response), Problem> {
    let member = identity::member(&api.verifier, headers)?;
    let code = coupon_code(path.as_ref().map(|Path(code)| code.as_str()).unwrap_or_default())?;
    body::check(body, api.max_body_bytes, api.body_within).await?;
    if api.is_held() {
        let detail = "the servers behind this one would not keep what is accepted now; asking again is safe";
        return Err(Problem::new(Code::GateClosed, detail).after_about(AFTER_A_REPAIR));
    }
    let held = api.accept.accept(&code, &member).await.map_err(refusal)?;
    let (request_id, is_repeat) = (held.request_id.to_string(), held.is_repeat);
    let state = held.state(api.answer_within).await;
    let (status, outcome) = match (is_repeat, state) {
        (true, _) => (StatusCode::OK, Held::Repeated),
        (false, Progress::Reserved) => (StatusCode::ACCEPTED, Held::Reserved),
        (false, _) => (StatusCode::ACCEPTED, Held::Accepted),
    };
    let location = format!("/api/v1/coupons/{code}/issues/{request_id}");
    let answer = Answer { request_id, coupon_code: code, state: state.as_str() };
    let headers = [(CACHE_CONTROL, NO_STORE), (LOCATION, HeaderValue::from_str(&location).expect("a code and an id"))];
    Ok((outcome, (status, headers, Json(answer)).into_response()))
}

/// Reads the code of a path.
pub(super) fn coupon_code(text: &str) -> Result<CouponCode, Problem> {
    text.parse().map_err(|error: coupon_core::ids::InvalidId| Problem::new(Code::InvalidCouponCode, error.to_string()))
}

/// Every 503 leaves open, or denies, that the member holds one: asking again is safe.
pub(super) fn refusal(why: NotHeld) -> Problem {
    match why {
        NotHeld::SoldOut => Problem::sold_out(),
        NotHeld::NotOpen(wait) => Problem::new(Code::NotOpen, "the campaign has not opened yet").after(wait),
        NotHeld::Closed => Problem::new(Code::Closed, "the campaign is closed"),
        NotHeld::Unknown => Problem::new(Code::CouponNotFound, "there is no such coupon"),
        NotHeld::GateClosed => {
            Problem::new(Code::GateClosed, "the campaign is being prepared; asking again is safe").after_about(AGAIN)
        }
        NotHeld::Suspect => Problem::new(
            Code::GateClosed,
            "the campaign is being repaired, which needs a person; the outcome is unknown or negative, asking again is \
             safe",
        )
        .after_about(AFTER_A_REPAIR),
        NotHeld::OutboxFull => {
            Problem::new(Code::OutboxFull, "too many reservations wait to be written; asking again is safe")
                .after_about(AGAIN)
        }
        NotHeld::NoAnswer => {
            Problem::new(Code::StockUnavailable, "the outcome is unknown or negative; asking again is safe")
                .after_about(AGAIN)
        }
        NotHeld::DatabaseAway => Problem::new(
            Code::DatabaseUnavailable,
            "what is known of the request or the campaign cannot be looked up now; asking again is safe",
        )
        .after_about(AGAIN),
    }
}
