//! Where the requests of this member stand: one by its id, the one by which a coupon of a campaign is held, and a list.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL},
};
use chrono::SecondsFormat;
use coupon_core::{
    ids::{CouponCode, RequestId},
    stock::Refused,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Api, Code, Problem,
    openapi::{CODE_PATTERN, IssueState},
    problem::NO_STORE,
    request,
};
use crate::{accept::NotHeld, standing::Standing};

/// Requests on a page unless the query asks for another number.
pub(super) const PAGE_REQUESTS: usize = 20;
/// Most requests on a page.
pub(super) const MAX_PAGE_REQUESTS: usize = 100;

/// An answer to a member that no cache keeps.
pub(super) type Private<T> = ([(HeaderName, HeaderValue); 1], Json<T>);

/// Adds the header that keeps caches from an answer.
pub(super) fn private<T>(answer: T) -> Private<T> {
    ([(CACHE_CONTROL, NO_STORE)], Json(answer))
}

/// A request of a member, and where it stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Issue")]
pub(super) struct Answer {
    /// The request. Whoever asks again gets the same one, unless it was compensated.
    #[schemars(extend("format" = "uuid"))]
    request_id: String,
    /// The campaign.
    #[schemars(with = "String", pattern(CODE_PATTERN))]
    coupon_code: CouponCode,
    // Described by its type.
    #[schemars(with = "IssueState")]
    state: &'static str,
    /// When an issued coupon expires; only of an issued one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "date-time"))]
    expires_at: Option<String>,
    /// Only of a compensated request: the one by which the member holds a coupon of this campaign now, if there is one (a
    /// replay, or another try).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Answer")]
    replaced_by: Option<Box<Answer>>,
}

/// A page of a member's requests, newest first.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IssuePage")]
pub(super) struct PageAnswer {
    /// The requests.
    pub(super) issues: Vec<Answer>,
    /// What `before` is set to for the next page; null: there is none.
    #[schemars(extend("format" = "uuid"))]
    pub(super) next: Option<String>,
    /// Whether all requests that are not decided yet could be looked up; if not, some may be missing here.
    pub(super) complete: bool,
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

/// `GET /api/v1/coupons/{code}/issues/{request_id}`: 200, or 404 for anything that is not a request of this member. What
/// others asked for is none of its business.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Private<Answer>, Problem> {
    let member = request::member(&api, &headers).await?;
    let (code, id) = path.map(|Path(names)| names).unwrap_or_default();
    let code = request::parse_code(code)?;
    let not_found = || Problem::new(Code::RequestNotFound, "this member has no such request");
    let id: RequestId = id.parse().map_err(|_| not_found())?;
    match api.accept.standing(&code, &member, id).await {
        Ok(Some(standing)) => Ok(private(standing.into())),
        Ok(None) | Err(NotHeld::Refused(Refused::Missing)) => Err(not_found()),
        Err(why) => Err(why.into()),
    }
}

/// `GET /api/v1/coupons/{code}/issues/mine`: what the member holds of a campaign. 404 only when that is surely nothing.
pub(super) async fn show_mine(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Private<Answer>, Problem> {
    let member = request::member(&api, &headers).await?;
    let code = request::coupon_code(path)?;
    match api.accept.held_by(&code, &member).await? {
        Some(standing) => Ok(private(standing.into())),
        None => Err(Problem::new(Code::NothingHeld, "this member holds no coupon of this campaign")),
    }
}

/// `GET /api/v1/issues/mine`: the requests of the member, newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Private<PageAnswer>, Problem> {
    let member = request::member(&api, &headers).await?;
    let (before, limit) = read_page(query.as_deref().unwrap_or_default())?;
    let page = api.accept.requests_of(&member, before, limit).await?;
    let last = page.requests.last().filter(|_| page.has_more);
    let next = last.map(|standing| standing.request_id.to_string());
    let issues = page.requests.into_iter().map(Into::into).collect();
    Ok(private(PageAnswer { issues, next, complete: page.is_complete }))
}

/// Reads `before` and `limit`. Neither has a character that is ever escaped.
fn read_page(query: &str) -> Result<(Option<RequestId>, usize), Problem> {
    let (mut before, mut limit) = (None, PAGE_REQUESTS);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let wrong = |allowed: String| Problem::new(Code::InvalidQuery, allowed);
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("before", id) => {
                before = Some(id.parse().map_err(|_| wrong("before is the `next` of the page before".to_owned()))?);
            }
            ("limit", number) => {
                let number = number.parse().ok().filter(|number| (1..=MAX_PAGE_REQUESTS).contains(number));
                limit = number.ok_or_else(|| wrong(format!("limit is 1 to {MAX_PAGE_REQUESTS}")))?;
            }
            _ => return Err(wrong("the query may have before and limit, nothing else".to_owned())),
        }
    }
    Ok((before, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_limit_and_a_query_that_is_not_understood_is_refused() {
        let id = "018f3f5e-7b1a-7000-8000-000000000001";
        assert_eq!(read_page("").unwrap(), (None, 20));
        assert_eq!(read_page(&format!("limit=100&before={id}")).unwrap(), (Some(id.parse().unwrap()), 100));
        for wrong in ["limit=0", "limit=101", "limit=", "limit", "before=x", "before", "after=1", "limit=%31"] {
            assert_eq!(read_page(wrong).unwrap_err().code(), Code::InvalidQuery, "{wrong}");
        }
    }
}
