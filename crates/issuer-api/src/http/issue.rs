//! `POST /api/v1/coupons/{code}/issues`: a member asks for a coupon.

use std::{borrow::Cow, sync::Arc};

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
use coupon_core::{runtime::TraceParent, stock::Held};

use super::{
    Api, Code, Problem, admission, guard::guarded, observed::Observed, problem::NO_STORE, refusal::RETRY_AFTER_REPAIR,
    request, status, unverified,
};
use crate::standing::Standing;

/// Answers 202, or 200 when the member had asked before.
pub(super) async fn ask(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let mut observed = Observed::begin(&api, &headers, || Cow::Borrowed("POST /api/v1/coupons/{code}/issues"));
    let (started, trace) = (observed.started, observed.context());
    let campaign = path.as_ref().ok().and_then(|Path(code)| api.campaigns.of(code));
    let code = if observed.is_noted() { request::noted_code(&path) } else { None };
    let (outcome, request_id, response) = match guarded(&api, answer(&api, path, &headers, body, trace)).await {
        Ok((held, response)) => {
            (api.meters.count(Ok(&held), started, campaign.as_deref()), Some(held.request_id), response)
        }
        Err(problem) => {
            let outcome = api.meters.count(Err(problem.code()), started, campaign.as_deref());
            (outcome, None, problem.into_response())
        }
    };
    observed.note(outcome, code, request_id);
    observed.finish(response)
}

async fn answer(
    api: &Api,
    path: Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    body: Body,
    trace: Option<TraceParent>,
) -> Result<(Held, Response), Problem> {
    let member = match unverified::refuse(api, &path, headers, &body) {
        Some(known) => known?,
        None => request::member(api, headers).await?,
    };
    let code = request::coupon_code(path)?;
    request::check_body(body, api.max_body_bytes, api.body_within).await?;
    api.accept.forced(&member, true)?;
    if api.is_held() {
        let detail = "the servers behind this one would not keep what is accepted now; asking again is safe";
        return Err(Problem::new(Code::GateClosed, detail).after_about(RETRY_AFTER_REPAIR));
    }
    if let Some(asked) = &api.admission
        && let Err(why) = asked.admits(&code, &member, headers).await
    {
        let standing = Box::pin(admission::held_or(asked, &code, &member, why)).await?;
        let held = Held { request_id: standing.request_id, is_repeat: true, pending: None };
        let response = respond(&held, standing);
        return Ok((held, response));
    }
    let held = api.accept.accept(&code, &member, api.answer_within, trace).await?;
    let standing = Standing::undecided(code, held.request_id, held.pending.is_some());
    let response = respond(&held, standing);
    Ok((held, response))
}

fn respond(held: &Held, standing: Standing) -> Response {
    let status = if held.is_repeat { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = format!("/api/v1/coupons/{}/issues/{}", standing.code, held.request_id);
    let headers = [(CACHE_CONTROL, NO_STORE), (LOCATION, HeaderValue::from_str(&location).expect("a code and an id"))];
    (status, headers, Json(status::Answer::from(standing))).into_response()
}
