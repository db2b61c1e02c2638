//! `/campaigns/{code}`: a campaign as PostgreSQL and Redis have it, how far its requests have come, and what can be done.

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use coupon_core::repo::{coupon_issues::COUNTED_UP_TO, coupons::CouponStatus};
use serde::{Deserialize, Serialize};

use super::{
    Code, change,
    looks::{Look, look},
};
use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
    params,
    show::{number, span},
    tile::Tile,
};

/// Width of the longest bar of the funnel.
const LONGEST_BAR: i64 = 150;
/// Height of a row of the funnel.
const ROW_HEIGHT: usize = 28;

/// What is asked of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Asked {
    /// Codes of what a change before this page has to say.
    remarks: Option<String>,
}

/// The page.
#[derive(Debug, Serialize)]
struct CampaignView {
    #[serde(flatten)]
    look: Look,
    /// What the change before this page has to say.
    remarks: Vec<&'static str>,
}

/// A row of the funnel.
#[derive(Debug)]
struct Bar {
    name: &'static str,
    /// What it is counted from.
    hint: &'static str,
    count: String,
    /// Lengths in the picture.
    width: i64,
    y: usize,
    class: &'static str,
}

#[derive(Template)]
#[template(path = "campaign.html")]
struct CampaignPage<'a> {
    frame: &'a Frame,
    page: &'a CampaignView,
    bars: Vec<Bar>,
    height: usize,
}

impl View for CampaignView {
    fn title(&self) -> String {
        format!("Campaign {}", self.look.campaign.code)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let bars = self.bars();
        let height = bars.len() * ROW_HEIGHT;
        CampaignPage { frame, page: self, bars, height }.render()
    }
}

impl CampaignView {
    fn bars(&self) -> Vec<Bar> {
        let Some(funnel) = self.look.funnel else { return Vec::new() };
        let stages = [
            ("accepted", "holders in Redis and units given back", funnel.accepted, "bar"),
            ("published", "accepted, less what is in the outbox", funnel.published, "bar"),
            ("written", "decided in PostgreSQL", Some(funnel.written), "good"),
            ("given back", "compensated, and free again", Some(funnel.given_back), "warn"),
            ("held", "wait for an operator", Some(funnel.held), "bad"),
        ];
        let most = stages.iter().filter_map(|(_, _, count, _)| *count).max().unwrap_or(0).max(1);
        let bar =
            |(row, (name, hint, count, class)): (usize, (&'static str, &'static str, Option<i64>, &'static str))| {
                let width = count.map_or(0, |count| (count.max(0) * LONGEST_BAR + most - 1) / most);
                Bar {
                    name,
                    hint,
                    count: count.map_or("not known".to_owned(), counted),
                    width,
                    y: row * ROW_HEIGHT,
                    class,
                }
            };
        stages.into_iter().enumerate().map(bar).collect()
    }

    /// A rate, or that it is not known yet.
    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn rate(&self, rate: &Option<f64>) -> String {
        rate.map_or("–".to_owned(), |rate| format!("{rate:.1}"))
    }

    /// The age of the oldest entry of the outbox.
    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn age(&self, ms: &u64) -> String {
        let ms = i64::try_from(*ms).unwrap_or(i64::MAX / 1_000_000);
        if ms < 2_000 { format!("{ms} ms") } else { span(chrono::TimeDelta::milliseconds(ms)) }
    }

    /// Where the forms lead to.
    fn path(&self, frame: &Frame) -> String {
        format!("{}/campaigns/{}", frame.base, self.look.campaign.code)
    }

    fn can_open(&self) -> bool {
        let may_open = [CouponStatus::Draft, CouponStatus::Opening, CouponStatus::Closed];
        self.is_live() && may_open.contains(&self.look.campaign.stored_status)
    }

    fn can_close(&self) -> bool {
        let may_close = [CouponStatus::Open, CouponStatus::Suspect];
        self.is_live() && may_close.contains(&self.look.campaign.stored_status)
    }

    fn can_delete(&self) -> bool {
        self.look.campaign.stored_status == CouponStatus::Draft && self.look.campaign.epoch == 0
    }

    fn can_rebuild(&self) -> bool {
        self.is_live() && self.look.campaign.epoch > 0
    }

    fn can_archive(&self) -> bool {
        self.is_live() && self.look.campaign.stored_status == CouponStatus::Closed
    }

    /// Whether the campaign can still change.
    fn is_live(&self) -> bool {
        self.look.campaign.archived_at.is_none()
    }
}

/// A number, or that it is at least that.
fn counted(count: i64) -> String {
    if count == COUNTED_UP_TO + 1 {
        return format!("at least {}", number(&COUNTED_UP_TO));
    }
    number(&count)
}

/// `GET /campaigns/{code}`.
pub(in crate::pages) async fn show(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    RawQuery(query): RawQuery,
) -> Response {
    let view = view(&console, &caller, &code, query.as_deref()).await;
    console.answer(&caller, view.map(|view| console.show(&caller, &view)))
}

async fn view(console: &Console, caller: &Caller, code: &Code, query: Option<&str>) -> Result<CampaignView, Failure> {
    let asked: Asked = params::query(query)?;
    let code = code.known()?;
    let look = look(console, &code).await?.ok_or_else(|| super::unknown(&code))?;
    let remarks = asked.remarks.as_deref().unwrap_or_default().split('.').filter_map(change::remark).collect();
    Ok(CampaignView { look: look.seen_by(caller), remarks })
}
