//! `/plans/{id}`: what a change would hit, and the form that confirms it.

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use coupon_operations::plans::Plan;
use serde::Serialize;

use super::confirm::verb_of;
use crate::{
    Console,
    access::Caller,
    answer::{Failure, Frame, View},
    pages::work::job_path,
};

/// The page.
#[derive(Debug, Serialize)]
struct PlanView {
    #[serde(flatten)]
    plan: Plan,
    /// Whether it can still be confirmed.
    is_open: bool,
    #[serde(skip)]
    is_first: bool,
}

#[derive(Template)]
#[template(path = "plan.html")]
struct PlanPage<'a> {
    frame: &'a Frame,
    page: &'a PlanView,
    verb: &'static str,
    role: String,
    may_confirm: bool,
    job_link: Option<String>,
    is_danger: bool,
    is_nothing: bool,
}

impl View for PlanView {
    fn title(&self) -> String {
        format!("Plan {}", self.plan.plan_id)
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        let verb = verb_of(&self.plan);
        let name = verb.name.rsplit('.').next().unwrap_or_default();
        let is_danger = matches!(name, "compensate" | "rebuild" | "archive");
        let (job_link, is_nothing) = (self.plan.job.map(job_path), self.plan.eligible == Some(0));
        let (role, may_confirm) = (verb.role.to_string(), frame.can(&verb.role));
        PlanPage { frame, page: self, verb: name, role, may_confirm, job_link, is_danger, is_nothing }.render()
    }
}

pub(in crate::pages) async fn show(State(console): State<Console>, caller: Caller, Path(id): Path<String>) -> Response {
    let answer = page(&console, &caller, &id).await;
    console.answer(&caller, answer)
}

async fn page(console: &Console, caller: &Caller, id: &str) -> Result<Response, Failure> {
    let (plan, now) = (plan(console, id).await?, console.operations.clock.now());
    let is_open = plan.confirmed_at.is_none() && now < plan.expires_at;
    let is_first = plan.first_by.as_deref() == Some(caller.name.as_str());
    Ok(console.show(caller, &PlanView { plan, is_open, is_first }))
}

/// Returns the plan of a number in an address.
pub(super) async fn plan(console: &Console, id: &str) -> Result<Plan, Failure> {
    let unknown = || Failure::not_found(format!("there is no plan {id}; lists and campaigns make new ones"));
    let number: i64 = id.parse().map_err(|_| unknown())?;
    console.operations.plan(number).await?.ok_or_else(unknown)
}
