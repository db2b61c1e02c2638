//! `POST /api/v1/coupons/{code}/issues`: a member asks for a coupon.

use std::sync::Arc;

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
use coupon_core::stock::Held;
use tokio::time::Instant;

use super::{
    Api, Code, Problem,
    guard::{REQUEST_NAME, finish, guarded},
    problem::NO_STORE,
    refusal::RETRY_AFTER_REPAIR,
    request, status,
};
use crate::standing::Standing;

/// Answers 202, or 200 when the member had asked before.
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let started = Instant::now();
    let name = headers.get(REQUEST_NAME).cloned();
    let response = match guarded(&api, answer(&api, path, &headers, body)).await {
        Ok((held, response)) => {
            api.meters.count(Ok(&held), started);
            response
        }
        Err(problem) => {
            api.meters.count(Err(problem.code()), started);
            problem.into_response()
        }
    };
    finish(response, name.as_ref())
}

async fn answer(
    api: &Api,
    path: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    body: Body,
) -> Result<(Held, Response), Problem> {
    let member = request::member(api, headers).await?;
    let code = request::coupon_code(path)?;
    request::check_body(body, api.max_body_bytes, api.body_within).await?;
    if api.is_held() {
        let detail = "the servers behind this one would not keep what is accepted now; asking again is safe";
        return Err(Problem::new(Code::GateClosed, detail).after_about(RETRY_AFTER_REPAIR));
    }
    let held = api.accept.accept(&code, &member, api.answer_within).await?;
    let status = if held.is_repeat { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = format!("/api/v1/coupons/{code}/issues/{}", held.request_id);
    let headers = [(CACHE_CONTROL, NO_STORE), (LOCATION, HeaderValue::from_str(&location).expect("a code and an id"))];
    let standing = Standing::undecided(code, held.request_id, held.pending.is_some());
    Ok((held, (status, headers, Json(status::Answer::from(standing))).into_response()))
}
