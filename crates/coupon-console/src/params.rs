//! What a request asks for: its query and its body, with a sentence when they do not make sense.

use std::collections::BTreeMap;

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
};
use serde::de::DeserializeOwned;

use crate::{LIMITS, answer::Failure};

/// Largest body of a request, in bytes; the largest form has a reason of 2,000.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the change before a page did: codes in `done=`, so that a link cannot put words into the console's mouth.
const NOTICES: &[(&str, &str)] = &[
    ("changed", "Done."),
    ("created", "Created."),
    ("started", "Started. This page follows it."),
    ("unchanged", "Nothing had to be changed."),
    ("sent", "Sent."),
    ("noted", "Noted."),
    ("saved", "The view is saved."),
    ("deleted", "The view is deleted."),
    ("second", "Your confirmation is kept. Somebody else has to confirm it too."),
    ("revoked", "Revoked: the token and its sessions are worth nothing from now on."),
];

/// Returns the sentence about the change before a page.
pub(crate) fn notice(view: &str) -> Option<String> {
    let done = pairs(view.split_once('?')?.1).into_iter().find(|(name, _)| name == "done")?.1;
    NOTICES.iter().find(|(code, _)| *code == done).map(|(_, sentence)| (*sentence).to_owned())
}

/// Reads a query. A field that is empty counts as absent, because forms send all of theirs; unknown ones are refused where
/// `T` denies them.
pub(crate) fn query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, Failure> {
    let pairs: Vec<(String, String)> = pairs(query.unwrap_or_default())
        .into_iter()
        .filter(|(name, value)| !value.is_empty() && name != "done")
        .collect();
    from_pairs(&pairs, "the address")
}

/// Returns the reason of a change, trimmed; every change needs one.
pub(crate) fn reason(text: &str) -> Result<String, Failure> {
    coupon_operations::terminal::reason(text).map_err(|why| Failure::bad_input(format!("reason: {why}")))
}

/// Reads a body: a form, or JSON.
pub(crate) async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Failure> {
    let is_json =
        request.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let bytes = tokio::time::timeout(LIMITS.header_timeout, to_bytes(request.into_body(), MAX_BODY_BYTES)).await;
    // A body that never ends would keep its connection, and there are few of these.
    let bytes = bytes.map_err(|_| {
        let detail = format!("the body did not come within {} s", LIMITS.header_timeout.as_secs());
        Failure::new(StatusCode::REQUEST_TIMEOUT, "SLOW_BODY", detail)
    })?;
    let bytes = bytes.map_err(|_| Failure::bad_input(format!("the body is larger than {MAX_BODY_BYTES} bytes")))?;
    if is_json {
        return serde_json::from_slice(&bytes).map_err(|error| Failure::bad_input(format!("the body: {error}")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::bad_input("the form is no UTF-8"))?;
    let pairs: Vec<(String, String)> = pairs(text).into_iter().filter(|(_, value)| !value.is_empty()).collect();
    from_pairs(&joined(pairs), "the form")
}

/// Joins the values of a field that a form has more than once, such as the numbers of a selection, with commas.
fn joined(pairs: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut fields = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in pairs {
        fields.entry(name).or_default().push(value);
    }
    fields.into_iter().map(|(name, values)| (name, values.join(","))).collect()
}

fn pairs(text: &str) -> Vec<(String, String)> {
    serde_urlencoded::from_str(text).unwrap_or_default()
}

fn from_pairs<T: DeserializeOwned>(pairs: &[(String, String)], what: &str) -> Result<T, Failure> {
    let text = serde_urlencoded::to_string(pairs).unwrap_or_default();
    serde_urlencoded::from_str(&text).map_err(|error| Failure::bad_input(format!("{what}: {error}")))
}

/// The body of a change.
pub(crate) struct Form<T>(pub Result<T, Failure>);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Form<T> {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(body(request).await))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        status: Option<String>,
        before: Option<i64>,
    }

    #[test]
    fn an_empty_field_is_absent_and_a_wrong_one_is_named() {
        let asked: Asked = query(Some("status=&before=7&done=changed")).unwrap();
        assert_eq!((asked.status, asked.before), (None, Some(7)));
        for wrong in ["before=x", "colour=red"] {
            assert!(query::<Asked>(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_notice_is_one_of_ours() {
        assert_eq!(notice("/work?done=changed").as_deref(), Some("Done."));
        assert_eq!(notice("/work?done=You+won"), None);
    }
}
