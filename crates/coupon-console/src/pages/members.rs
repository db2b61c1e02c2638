//! `/members/{id}`: all requests of a member, why there is none in other campaigns, and the sentence to tell them.

use askama::Template;
use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use coupon_core::ids::{CouponCode, MemberId};
use coupon_operations::lookups::{HolderEntry, MemberStanding};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::links;
use crate::{
    Console,
    access::Caller,
    answer::{Failure, Frame, View},
    params,
    tile::Tile,
};

/// Who is looked up.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct LookedUp {
    id: Option<String>,
}

/// The page that looks a member up.
#[derive(Debug, Serialize)]
struct LookUp {
    /// What the address takes.
    parameters: [&'static str; 1],
}

#[derive(Template)]
#[template(path = "look_up.html")]
struct LookUpPage<'a> {
    frame: &'a Frame,
}

impl View for LookUp {
    fn title(&self) -> String {
        "Look a member up".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        LookUpPage { frame }.render()
    }
}

/// What is asked of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Asked {
    /// `yes`: ask Redis too.
    redis: Option<String>,
}

/// The page.
#[derive(Debug, Serialize)]
struct MemberView {
    member_id: MemberId,
    #[serde(flatten)]
    standing: MemberStanding,
    /// Requests that Redis has accepted and PostgreSQL does not know; `null`: Redis was not asked.
    redis: Option<Tile<Vec<Unwritten>>>,
}

/// An accepted request that is not written yet.
#[derive(Debug, Serialize)]
struct Unwritten {
    coupon_code: CouponCode,
    request_id: Uuid,
    sentence: &'static str,
}

#[derive(Template)]
#[template(path = "member.html")]
struct MemberPage<'a> {
    frame: &'a Frame,
    page: &'a MemberView,
}

impl View for MemberView {
    fn title(&self) -> String {
        format!("Member {}", self.member_id.as_str())
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        MemberPage { frame, page: self }.render()
    }
}

/// `GET /members`: the form, or with an id the way to its page.
pub(super) async fn find(State(console): State<Console>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let answer = match params::query::<LookedUp>(query.as_deref()) {
        Err(failure) => Err(failure),
        Ok(LookedUp { id: None }) => Ok(console.show(&caller, &LookUp { parameters: ["id"] })),
        // No browser asks for a path that ends so.
        Ok(LookedUp { id: Some(id) }) if id == "." || id == ".." => {
            view(&console, &id, None).await.map(|view| console.show(&caller, &view))
        }
        Ok(LookedUp { id: Some(id) }) => {
            let path = format!("{}/members/{}", console.base_path(), links::segment(&id));
            Ok(Redirect::to(&path).into_response())
        }
    };
    console.answer(&caller, answer)
}

/// `GET /members/{id}`.
pub(super) async fn show(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let view = view(&console, &id, query.as_deref()).await;
    console.answer(&caller, view.map(|view| console.show(&caller, &view)))
}

async fn view(console: &Console, id: &str, query: Option<&str>) -> Result<MemberView, Failure> {
    let asked: Asked = params::query(query)?;
    let member_id = id.parse::<MemberId>().map_err(|error| Failure::bad_input(format!("{error}")))?;
    let asks_redis = match asked.redis.as_deref() {
        None | Some("no") => false,
        Some("yes") => true,
        Some(_) => return Err(Failure::bad_input("redis is yes or no")),
    };
    let standing = console.operations.member_standing(&member_id).await?;
    let redis = if asks_redis {
        let found = Tile::of("Redis", console.operations.holders_of_member(&member_id, &standing)).await;
        let is_known = |entry: &HolderEntry| {
            standing.requests.iter().any(|request| request.request_id == entry.request_id.as_uuid())
        };
        Some(found.map(|found| found.into_iter().filter(|entry| !is_known(entry)).map(Unwritten::from).collect()))
    } else {
        None
    };
    Ok(MemberView { member_id, standing, redis })
}

impl From<HolderEntry> for Unwritten {
    fn from(HolderEntry { coupon_code, request_id, .. }: HolderEntry) -> Self {
        let sentence = "We have received your request, and it is being processed. Please look again in a few minutes.";
        Self { coupon_code, request_id: request_id.as_uuid(), sentence }
    }
}
