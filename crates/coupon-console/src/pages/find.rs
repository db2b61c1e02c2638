//! `/find`: leads from a number, a request id, a member or a campaign's code to its page.

use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use coupon_core::repo::work_list::{List, TypedNumber};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Console,
    access::{Caller, Rendering},
    answer::Failure,
    pages::links::segment,
    params,
};

/// What is looked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// What was typed.
    #[serde(default)]
    q: String,
    /// What it is: `member`, `campaign`; absent: what it looks like.
    what: Option<String>,
}

pub(super) async fn show(State(console): State<Console>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let path = params::query::<Asked>(query.as_deref()).and_then(|asked| path(&asked));
    let answer = path.map(|path| match caller.rendering {
        Rendering::Json => Json(serde_json::json!({ "path": path })).into_response(),
        Rendering::Html => Redirect::to(&format!("{}{path}", console.base_path())).into_response(),
    });
    console.answer(&caller, answer)
}

fn path(asked: &Asked) -> Result<String, Failure> {
    let text = asked.q.trim();
    if text.is_empty() {
        return Err(Failure::bad_input(
            "nothing is looked for: type a request id, E403, D513 or a member on the overview",
        ));
    }
    match asked.what.as_deref() {
        Some("member") => return Ok(format!("/members/{}", segment(text))),
        Some("campaign") => return Ok(format!("/campaigns/{}", segment(text))),
        Some(other) => return Err(Failure::bad_input(format!("what={other}: it is member, campaign or absent"))),
        None => {}
    }
    if let Ok(request) = text.parse::<Uuid>() {
        return Ok(format!("/requests/{request}"));
    }
    let number = text.parse::<TypedNumber>().map(|number| number.or(List::Requests));
    Ok(match number {
        Ok(number) if number.list == List::Requests => format!("/work/{number}"),
        Ok(number) => format!("/dead-letters/{number}"),
        Err(_) => format!("/members/{}", segment(text)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_leads_to_its_page() {
        let to = |q: &str, what: Option<&str>| path(&Asked { q: q.to_owned(), what: what.map(str::to_owned) }).ok();
        let id = "0195f3a8-1c2d-7a3b-9c4d-5e6f70818293";
        for (typed, what, page) in [
            (id, None, format!("/requests/{id}")),
            (" E403 ", None, "/work/E403".to_owned()),
            ("403", None, "/work/E403".to_owned()),
            ("d5", None, "/dead-letters/D5".to_owned()),
            ("403", Some("member"), "/members/403".to_owned()),
            ("a b/c.json", None, "/members/a%20b%2Fc%2Ejson".to_owned()),
            ("SUMMER", Some("campaign"), "/campaigns/SUMMER".to_owned()),
        ] {
            assert_eq!(to(typed, what), Some(page), "{typed}");
        }
        assert_eq!((to("x", Some("colour")), to(" ", Some("member"))), (None, None));
    }
}
