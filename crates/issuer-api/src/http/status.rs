//! `GET /api/v1/coupons/{code}/issues/{request_id}`: where a request of this member stands.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::HeaderMap,
};
use chrono::SecondsFormat;
use coupon_core::{
    ids::{CouponCode, MemberId, RequestId},
    repo::issues::Decision,
    stock::{OutboxEntry, Stock, StockError},
};
use serde::Serialize;

use super::{Api, Code, Problem, identity, issue};
use crate::accept::NotHeld;

/// Where a request stands.
#[derive(Serialize)]
pub(super) struct Answer {
    request_id: String,
    coupon_code: CouponCode,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

/// Answers 200, or 404 for anything that is not a request of this member: what others asked for is none of its business.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Answer>, Problem> {
    let member = identity::member(&api.verifier, &headers)?;
    let (code, id) = path.map(|Path(names)| names).unwrap_or_default();
    let code = issue::coupon_code(&code)?;
    let not_found = || Problem::new(Code::RequestNotFound, "this member has no such request");
    let id: RequestId = id.parse().map_err(|_| not_found())?;
    // Redis first: a mark only goes after its decision is there to be read, so this order misses none in between.
    let mark = mark(&api.accept.stock, &code, &member, id).await;
    let decided = api.accept.campaigns.decision(&code, id, &member).await;
    let (state, expires_at) = match (decided, mark) {
        (Ok(Some(decided)), _) => match decided.decision {
            Decision::Issued => ("issued", decided.expires_at),
            Decision::Compensated => ("compensated", None),
        },
        (_, Ok(Some(state))) => (state, None),
        (Ok(None), Ok(None)) => return Err(not_found()),
        (_, Err(_)) => return Err(issue::refusal(NotHeld::NoAnswer)),
        (Err(_), Ok(None)) => {
            let problem = Problem::new(
                Code::DatabaseUnavailable,
                "where the request stands cannot be told; asking again is safe",
            );
            return Err(problem.after(issue::AGAIN));
        }
    };
    let expires_at = expires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
    Ok(Json(Answer { request_id: id.to_string(), coupon_code: code, state, expires_at }))
}

/// How far the reservation that the member holds has got, if it is this one.
async fn mark(
    stock: &Stock,
    code: &CouponCode,
    member: &MemberId,
    id: RequestId,
) -> Result<Option<&'static str>, StockError> {
    if stock.mark(code, member).await? != Some(id) {
        return Ok(None);
    }
    // Without meta nobody knows the epoch of the promise; the weaker word is never wrong.
    let Some(view) = stock.view(code).await? else { return Ok(Some("reserved")) };
    let entry = OutboxEntry { request_id: id, epoch: view.epoch, member_id: member.clone() };
    Ok(Some(if stock.is_pending(code, &entry).await? { "reserved" } else { "accepted" }))
}
