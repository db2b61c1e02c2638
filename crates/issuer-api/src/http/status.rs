//! `GET /api/v1/coupons/{code}/issues/{request_id}`: where a request of this member stands.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL},
};
use chrono::SecondsFormat;
use coupon_core::ids::{CouponCode, RequestId};
use serde::Serialize;

use super::{Api, Code, Problem, identity, issue, problem::NO_STORE};
use crate::standing::Standing;

/// What is told to a member, and nobody keeps.
pub(super) type Private<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

pub(super) fn private<T>(answer: T) -> Private<T> {
    ([(CACHE_CONTROL, NO_STORE)], Json(answer))
}

/// Where a request stands.
#[derive(Serialize)]
pub(super) struct Answer {
    request_id: String,
    coupon_code: CouponCode,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// The request by which the member holds a coupon of the campaign instead of a compensated one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<Box<Answer>>,
}

impl From<Standing> for Answer {
    fn from(standing: Standing) -> Self {
        Self {
            request_id: standing.request_id.to_string(),
            coupon_code: standing.code,
            state: standing.state.as_str(),
            expires_at: standing.expires_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            replaced_by: standing.replaced_by.map(|other| Box::new((*other).into())),
        }
    }
}

/// Answers 200, or 404 for anything that is not a request of this member: what others asked for is none of its business.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Private<Answer>, Problem> {
    let member = identity::member(&api.verifier, &headers)?;
    let (code, id) = path.map(|Path(names)| names).unwrap_or_default();
    let code = issue::coupon_code(&code)?;
    let not_found = || Problem::new(Code::RequestNotFound, "this member has no such request");
    let id: RequestId = id.parse().map_err(|_| not_found())?;
    match api.accept.standing(&code, &member, id).await {
        Ok(Some(standing)) => Ok(private(standing.into())),
        Ok(None) | Err(crate::accept::NotHeld::Unknown) => Err(not_found()),
        Err(why) => Err(issue::refusal(why)),
    }
}
