//! The pages, a file each.

mod alarms;
mod assets;
mod audit;
mod campaigns;
mod causes;
mod dead_letters;
mod find;
mod health;
mod home;
mod jobs;
mod links;
mod login;
mod members;
mod openapi;
mod operators;
mod personal_data;
mod plans;
mod reconcile;
mod requests;
mod webhooks;
mod work;

use axum::{
    Router,
    extract::State,
    handler::Handler,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state},
    response::Response,
    routing::{any, get, post},
};

use coupon_core::repo::{dlq_events::DlqEvent, failed_coupon_issues::FailedCouponIssue};

pub(crate) use campaigns::Looks;
pub(crate) use home::Budget;

use crate::{
    Console,
    access::{Caller, Gate, Routes, VERBS, guard, guard_login, secure},
    answer::Failure,
    bound, etag,
};

/// The pages of the navigation: path and name.
pub(crate) const NAVIGATION: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/campaigns", "Campaigns"),
    ("/work", "Work list"),
    ("/causes", "Causes"),
    ("/dead-letters", "Dead letters"),
    ("/replays", "Replays"),
    ("/jobs", "Jobs"),
    ("/reconcile", "Reconcile"),
    ("/alarms", "Alarms"),
    ("/webhooks", "Webhooks"),
    ("/audit", "Audit"),
    ("/operators", "Operators"),
    ("/health", "Health"),
];

/// Returns the number of rows that one page of a list is searched in.
pub(crate) fn searched() -> String {
    crate::show::number(&coupon_core::repo::work_list::SEARCHED_ROWS)
}

/// Returns a number of seconds in its largest unit.
pub(crate) fn seconds(seconds: &i64) -> String {
    crate::show::span(chrono::TimeDelta::seconds(*seconds))
}

/// Returns the routes: those of the table of verbs, the login and the assets.
pub(crate) fn routes(console: &Console) -> Router {
    let routes = Routes::new()
        .on("home", get(home::show))
        .on("logout", post(login::log_out))
        .on("openapi", get(openapi::show))
        .on("health", get(health::show))
        .on("health.doctor", get(health::doctor))
        .on("find", get(find::show))
        .on("reconcile.list", get(reconcile::list))
        .on("reconcile.show", get(reconcile::show))
        .on("reconcile.check", post(reconcile::check))
        .on("alarms.list", get(alarms::list))
        .on("alarms.test", post(alarms::test))
        .on("webhooks.list", get(webhooks::list))
        .on("webhooks.resend", post(webhooks::resend))
        .on("audit.list", get(audit::list))
        .on("operators.list", get(operators::list))
        .on("operators.add", post(operators::add))
        .on("operators.revoke", post(operators::revoke));
    let no_verb = from_fn_with_state(Gate { console: console.clone(), verb: None }, guard);
    let unknown = any(unknown).layer(no_verb.clone());
    campaign_routes(work_routes(routes))
        .router(console)
        .route("/login", get(login::show).post(login::log_in).layer(from_fn_with_state(console.clone(), guard_login)))
        .route("/assets/{name}", get(assets::serve))
        .method_not_allowed_fallback(wrong_method.layer(no_verb))
        .fallback_service(unknown.with_state(console.clone()))
        .layer(from_fn(etag::tag))
        .layer(from_fn_with_state(console.clone(), bound::bounded))
        .layer(from_fn(secure))
        .with_state(console.clone())
}

/// Answers a method that a route does not have.
async fn wrong_method(State(console): State<Console>, caller: Caller) -> Response {
    let detail = "this address is not asked in this way; /openapi.json says how";
    let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", detail);
    failure.answer(caller.rendering, &console, Some(&caller))
}

/// The routes of campaigns, requests and members.
fn campaign_routes(routes: Routes) -> Routes {
    routes
        .on("campaigns.list", get(campaigns::index))
        .on("campaigns.list-events", get(campaigns::of_list))
        .on("campaigns.create", post(campaigns::create))
        .on("campaigns.show", get(campaigns::show))
        .on("campaigns.events", get(campaigns::of_campaign))
        .on("campaigns.open", post(campaigns::open))
        .on("campaigns.close", post(campaigns::close))
        .on("campaigns.set-total", post(campaigns::set_total))
        .on("campaigns.reschedule", post(campaigns::reschedule))
        .on("campaigns.set-admission", post(campaigns::set_admission))
        .on("campaigns.delete", post(campaigns::delete))
        .on("issues.list", get(campaigns::issues))
        .on("issues.export", get(campaigns::export))
        .on("requests.show", get(requests::show))
        .on("members.find", get(members::find))
        .on("members.show", get(members::show))
        .on("members.erase", post(personal_data::erase))
        .on("members.export", get(personal_data::export))
}

/// The routes of the work list, of dead letters, plans and jobs.
fn work_routes(routes: Routes) -> Routes {
    let names = VERBS.iter().map(|verb| verb.name).filter(|name| name.starts_with("plans.make."));
    let routes = names.fold(routes, |routes, name| routes.on(name, post(plans::make)));
    routes
        .on("work.list", get(work::list::<FailedCouponIssue>))
        .on("work.show", get(work::show))
        .on("work.settle", post(work::settle_of))
        .on("work.replay", post(work::replay_of))
        .on("work.note", post(work::note_on))
        .on("work.claim", post(work::claim))
        .on("work.release", post(work::release))
        .on("filters.save", post(work::save_view))
        .on("filters.delete", post(work::delete_view))
        .on("causes.list", get(causes::list))
        .on("dead-letters.list", get(work::list::<DlqEvent>))
        .on("dead-letters.show", get(dead_letters::show))
        .on("dead-letters.settle", post(work::settle_of))
        .on("dead-letters.replay", post(work::replay_of))
        .on("dead-letters.note", post(work::note_on))
        .on("plans.show", get(plans::show))
        .on("plans.confirm", post(plans::confirm))
        .on("replays.list", get(jobs::list_replays))
        .on("replays.show", get(jobs::show_replay))
        .on("replays.pause", post(jobs::pause_replay))
        .on("replays.resume", post(jobs::resume_replay))
        .on("replays.cancel", post(jobs::cancel_replay))
        .on("replays.rate", post(jobs::rate_replay))
        .on("jobs.list", get(jobs::list_jobs))
        .on("jobs.show", get(jobs::show_job))
        .on("jobs.cancel", post(jobs::cancel_job))
}

/// Answers what is no route.
async fn unknown(State(console): State<Console>, caller: Caller) -> Response {
    let detail = "there is no such page; the navigation shows which there are";
    Failure::not_found(detail).answer(caller.rendering, &console, Some(&caller))
}
