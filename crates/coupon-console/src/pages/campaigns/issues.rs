//! `/campaigns/{code}/issues`: who got it, and the exports of that.

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use chrono::{DateTime, Utc};
use coupon_core::repo::{
    audit::AuditRow,
    coupon_issues::{Decision, DecisionFilter, DecisionOfCoupon},
};
use coupon_operations::export::{EXPORT_VERB, latest_bound};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Code, find, looks::Campaign};
use crate::{
    Console,
    access::{Caller, Role},
    answer::{Failure, Frame, View},
    pages::links,
    params,
};

/// Decisions on a page.
const PAGE_ROWS: usize = 100;
/// Exports that are shown.
const EXPORTS: usize = 5;

/// What is asked of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct Asked {
    /// Only this decision.
    decision: Option<String>,
    /// Only what was decided before this time.
    decided_before: Option<DateTime<Utc>>,
    /// The last request of the page before.
    after: Option<Uuid>,
}

/// The page.
#[derive(Debug, Serialize)]
struct Issues {
    campaign: Campaign,
    decision: Option<Decision>,
    decided_before: Option<DateTime<Utc>>,
    /// In the order of the requests.
    issues: Vec<DecisionOfCoupon>,
    /// Where the next page begins; `null`: there is none.
    next_after: Option<Uuid>,
    /// The bound that an export may have now.
    export_before: DateTime<Utc>,
    /// The last exports, for who may export.
    exports: Vec<AuditRow>,
}

#[derive(Template)]
#[template(path = "issues.html")]
struct IssuesPage<'a> {
    frame: &'a Frame,
    page: &'a Issues,
}

impl View for Issues {
    fn title(&self) -> String {
        format!("Who got {}", self.campaign.code)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        IssuesPage { frame, page: self }.render()
    }
}

impl Issues {
    /// The filter as a query, with the `&` behind it.
    fn filter(&self) -> String {
        let decision = self.decision.map(|decision| format!("decision={decision}&")).unwrap_or_default();
        let before =
            self.decided_before.map(|at| format!("decided_before={}&", crate::access::urlencode(&at.to_rfc3339())));
        decision + &before.unwrap_or_default()
    }

    /// Whether the page shows this decision only.
    fn is_chosen(&self, decision: &str) -> bool {
        self.decision.is_some_and(|chosen| chosen.as_str() == decision)
    }

    /// Returns what the audit has of a complete export.
    #[expect(clippy::unused_self, reason = "templates call methods")]
    fn exported(&self, row: &AuditRow, field: &str) -> String {
        match &row.change["to"][field] {
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Reads a decision of a query.
pub(super) fn decision(text: Option<&str>) -> Result<Option<Decision>, Failure> {
    let read = text.map(str::parse::<Decision>).transpose();
    read.map_err(|error| Failure::bad_input(format!("the address: {error}")))
}

/// `GET /campaigns/{code}/issues`.
pub(in crate::pages) async fn issues(
    State(console): State<Console>,
    caller: Caller,
    code: Code,
    RawQuery(query): RawQuery,
) -> Response {
    let page = page(&console, &caller, &code, query.as_deref()).await;
    console.answer(&caller, page.map(|page| console.show(&caller, &page)))
}

async fn page(console: &Console, caller: &Caller, code: &Code, query: Option<&str>) -> Result<Issues, Failure> {
    let asked: Asked = params::query(query)?;
    let filter =
        DecisionFilter { decision: decision(asked.decision.as_deref())?, decided_before: asked.decided_before };
    let campaign = find(console, code).await?;
    let database = &console.operations.database;
    let rows = i64::try_from(PAGE_ROWS + 1).unwrap_or(i64::MAX);
    let mut issues = database.coupon_issues().list_of_coupon(&campaign.code, filter, asked.after, rows).await?;
    let has_more = issues.len() > PAGE_ROWS;
    issues.truncate(PAGE_ROWS);
    for row in &mut issues {
        row.member_id = caller.member(&row.member_id);
    }
    let mut exports = Vec::new();
    if caller.may(Role::Admin) {
        exports = database.audit().of_subject(&format!("coupons/{}", campaign.code)).await?;
        exports.retain(|row| row.verb == EXPORT_VERB && row.change.get("to").is_some());
        exports.truncate(EXPORTS);
    }
    Ok(Issues {
        campaign,
        decision: filter.decision,
        decided_before: filter.decided_before,
        next_after: issues.last().filter(|_| has_more).map(|row| row.request_id),
        issues,
        export_before: latest_bound(console.operations.clock.now()),
        exports,
    })
}
