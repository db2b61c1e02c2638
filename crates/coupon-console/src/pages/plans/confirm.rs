//! `POST /plans/{id}/confirm`: makes a plan a job, once.

use axum::{
    extract::{Path, State},
    response::Response,
};
use coupon_operations::{
    plans::{Confirmed, Plan, PlanRefused},
    terminal::reason,
};
use serde::Deserialize;

use super::show::plan;
use crate::{
    Console,
    access::{Caller, VERBS, Verb},
    answer::Failure,
    pages::work::job_path,
    params::Form,
    show,
};

/// The form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::pages) struct ConfirmForm {
    /// Why.
    #[serde(default)]
    reason: String,
    /// The word that the plan asks for.
    typed: Option<String>,
}

pub(in crate::pages) async fn confirm(
    State(console): State<Console>,
    caller: Caller,
    Path(id): Path<String>,
    Form(form): Form<ConfirmForm>,
) -> Response {
    let answer = confirmed(&console, &caller, &id, form).await;
    console.answer(&caller, answer)
}

async fn confirmed(
    console: &Console,
    caller: &Caller,
    id: &str,
    form: Result<ConfirmForm, Failure>,
) -> Result<Response, Failure> {
    let (plan, ConfirmForm { reason: why, typed }) = (plan(console, id).await?, form?);
    let why = reason(&why).map_err(|wrong| Failure::bad_input(format!("reason: {wrong}")))?;
    let verb = verb_of(&plan);
    if !caller.may(verb.role) {
        console.deny_role(caller, verb, &format!("plans/{id}")).await;
        return Err(Failure::forbidden(verb, caller));
    }
    let identity = coupon_core::repo::audit::Identity { plan_id: Some(plan.plan_id), ..caller.identity(&why) };
    let operations = console.operations.in_the_name_of(identity);
    let typed = typed.as_deref().map(str::trim);
    match operations.confirm_plan(plan.plan_id, typed, &why).await {
        Ok(Confirmed::Job(job)) => Ok(console.done(
            caller,
            &job_path(job),
            "started",
            &serde_json::json!({ "plan_id": plan.plan_id, "job": job }),
        )),
        Ok(Confirmed::AwaitsSecond) => {
            let result = serde_json::json!({ "plan_id": plan.plan_id, "awaits_second": true });
            Ok(console.done(caller, &format!("/plans/{}", plan.plan_id), "second", &result))
        }
        Err(refused) => {
            if let PlanRefused::OnePerson { .. } = refused {
                console.deny_person(caller, &format!("plans/{id}")).await;
            }
            Err(refusal(refused))
        }
    }
}

/// Returns the verb of the console that makes such plans: its role confirms them.
pub(super) fn verb_of(plan: &Plan) -> &'static Verb {
    let change = serde_json::to_value(&plan.change).unwrap_or_default();
    let name = format!("plans.make.{}", change["verb"].as_str().unwrap_or_default());
    VERBS.iter().find(|verb| verb.name == name).expect("the table has a verb for each change")
}

fn refusal(refused: PlanRefused) -> Failure {
    match refused {
        PlanRefused::Unknown => Failure::not_found("there is no such plan"),
        PlanRefused::ConfirmedBefore { by, at, job } => {
            let job = job.map(|job| format!(": see {}", job_path(job))).unwrap_or_default();
            Failure::conflict(format!("{by} confirmed this plan before, at {} UTC{job}", show::when(&at)))
        }
        PlanRefused::Operations(error) => error.into(),
        wrong @ PlanRefused::Typed { .. } => Failure::bad_input(format!("typed: {wrong}")),
        PlanRefused::Expired | PlanRefused::Changed(_) | PlanRefused::SamePerson | PlanRefused::OnePerson { .. } => {
            Failure::conflict(refused.to_string())
        }
    }
}
