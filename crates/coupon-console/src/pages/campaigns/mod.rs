//! `/campaigns`: the campaigns, newest first, and what is done with them.

mod change;
mod events;
mod export;
mod forms;
mod issues;
mod looks;
mod show;

use askama::Template;
use axum::{
    extract::{FromRequestParts, Path, RawQuery, State},
    http::{StatusCode, request::Parts},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::ids::CouponCode;
use serde::{Deserialize, Serialize};

pub(super) use change::{close, create, delete, open, reschedule, set_admission, set_total};
pub(super) use events::{of_campaign, of_list};
pub(super) use export::{Asked as ExportAsked, export};
pub(super) use forms::{Admission, New, Total, Why, Window};
pub(super) use issues::{Asked as IssuesAsked, issues};
pub(crate) use looks::Looks;
pub(super) use show::{Asked as ShowAsked, show};

use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
    params,
};
use looks::Campaign;

/// Campaigns on a page.
const PAGE_ROWS: usize = 50;

/// What is asked of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The last campaign of the page before.
    before: Option<CouponCode>,
}

/// The page.
#[derive(Debug, Serialize)]
struct Campaigns {
    now: DateTime<Utc>,
    campaigns: Vec<Campaign>,
    /// Where the next page begins; `null`: there is none.
    next_before: Option<CouponCode>,
}

#[derive(Template)]
#[template(path = "campaigns.html")]
struct CampaignsPage<'a> {
    frame: &'a Frame,
    page: &'a Campaigns,
}

impl View for Campaigns {
    fn title(&self) -> String {
        "Campaigns".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        CampaignsPage { frame, page: self }.render()
    }
}

/// `GET /campaigns`.
pub(super) async fn index(State(console): State<Console>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let page = async { list(&console, &params::query::<Asked>(query.as_deref())?).await };
    console.answer(&caller, page.await.map(|page: Campaigns| console.show(&caller, &page)))
}

/// Returns the page: by the rows alone, because a list never asks Redis.
async fn list(console: &Console, asked: &Asked) -> Result<Campaigns, Failure> {
    let rows = i64::try_from(PAGE_ROWS + 1).unwrap_or(i64::MAX);
    let mut coupons = console.operations.database.coupons().page(asked.before.as_ref(), rows).await?;
    let has_more = coupons.len() > PAGE_ROWS;
    coupons.truncate(PAGE_ROWS);
    let now = console.operations.clock.now();
    let next_before = coupons.last().filter(|_| has_more).map(|coupon| coupon.coupon_code.clone());
    Ok(Campaigns { now, next_before, campaigns: coupons.iter().map(|coupon| Campaign::of(coupon, now)).collect() })
}

/// The campaign of the path.
pub(super) struct Code(String);

impl Code {
    /// Returns the code; what cannot be one names no campaign.
    fn known(&self) -> Result<CouponCode, Failure> {
        self.0.parse().map_err(|_| unknown(&self.0))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Code {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        let Path(code) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok(Self(code))
    }
}

fn unknown(code: impl std::fmt::Display) -> Failure {
    Failure::not_found(format!("there is no campaign {code}; the page of campaigns shows which there are"))
}

/// Returns the row of a campaign.
async fn find(console: &Console, code: &Code) -> Result<Campaign, Failure> {
    let code = code.known()?;
    let found = console.operations.database.coupons().find(&code).await;
    let coupon = found?.ok_or_else(|| unknown(&code))?;
    Ok(Campaign::of(&coupon, console.operations.clock.now()))
}
