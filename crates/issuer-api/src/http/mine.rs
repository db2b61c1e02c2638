//! `GET …/issues/mine`: what a member holds of a campaign, and what it has asked for in all, without any request id.

use std::sync::Arc;

use axum::{
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::HeaderMap,
};
use coupon_core::ids::RequestId;
use serde::Serialize;

use super::{
    Api, Code, Problem, identity, issue,
    status::{self, Private, private},
};

/// Requests on a page unless asked otherwise.
const PAGE: usize = 20;
/// Most requests on a page.
const MOST: usize = 100;

/// A page of a member's requests.
#[derive(Serialize)]
pub(super) struct Answer {
    issues: Vec<status::Answer>,
    /// What `before` is set to for the next page; null: there is none.
    next: Option<String>,
    /// Whether all requests that are not decided yet could be looked up.
    complete: bool,
}

/// What the member holds of a campaign. 404 only when that is surely nothing.
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Private<status::Answer>, Problem> {
    let member = identity::member(&api.verifier, &headers)?;
    let code = issue::coupon_code(path.as_ref().map(|Path(code)| code.as_str()).unwrap_or_default())?;
    match api.accept.held_by(&code, &member).await.map_err(issue::refusal)? {
        Some(standing) => Ok(private(standing.into())),
        None => Err(Problem::new(Code::NothingHeld, "this member holds no coupon of this campaign")),
    }
}

/// The requests of the member, newest first.
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Private<Answer>, Problem> {
    let member = identity::member(&api.verifier, &headers)?;
    let (before, limit) = read(query.as_deref().unwrap_or_default())?;
    let page = api.accept.requests_of(&member, before, limit).await.map_err(issue::refusal)?;
    let last = page.requests.last().filter(|_| page.has_more);
    let next = last.map(|standing| standing.request_id.to_string());
    let issues = page.requests.into_iter().map(Into::into).collect();
    Ok(private(Answer { issues, next, complete: page.is_complete }))
}

/// Reads `before` and `limit`. Neither has a character that is ever escaped.
fn read(query: &str) -> Result<(Option<RequestId>, usize), Problem> {
    let (mut before, mut limit) = (None, PAGE);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let wrong = |allowed: String| Problem::new(Code::InvalidQuery, allowed);
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("before", id) => {
                before = Some(id.parse().map_err(|_| wrong("before is the `next` of the page before".to_owned()))?);
            }
            ("limit", number) => {
                let number = number.parse().ok().filter(|number| (1..=MOST).contains(number));
                limit = number.ok_or_else(|| wrong(format!("limit is 1 to {MOST}")))?;
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
        assert_eq!(read("").unwrap(), (None, 20));
        assert_eq!(read(&format!("limit=100&before={id}")).unwrap(), (Some(id.parse().unwrap()), 100));
        for wrong in ["limit=0", "limit=101", "limit=", "limit", "before=x", "before", "after=1", "limit=%31"] {
            assert_eq!(read(wrong).unwrap_err().code(), Code::InvalidQuery, "{wrong}");
        }
    }
}
