//! The one table of what the console can do: verb, route and the least role that may.

use std::collections::BTreeMap;

use axum::{Router, middleware::from_fn_with_state, routing::MethodRouter};
use serde::Serialize;

use super::{Gate, Role, guard};
use crate::Console;

/// Something that an operator can ask of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Verb {
    /// Name, as in the audit of denials and in `dlq-consumer console roles`.
    pub name: &'static str,
    /// Method: `GET` shows, `POST` changes.
    pub method: &'static str,
    /// Route below `console.base_path`, in the form of the router.
    pub path: &'static str,
    /// Least role that may.
    pub role: Role,
}

const fn get(name: &'static str, path: &'static str, role: Role) -> Verb {
    Verb { name, method: "GET", path, role }
}

const fn post(name: &'static str, path: &'static str, role: Role) -> Verb {
    Verb { name, method: "POST", path, role }
}

/// Every verb. The guard asks it for the role, and refuses to be built while a verb has no handler.
pub const VERBS: &[Verb] = &[
    get("home", "/", Role::Viewer),
    post("logout", "/logout", Role::Viewer),
    get("openapi", "/openapi", Role::Viewer),
    get("health", "/health", Role::Viewer),
    // Campaigns, requests, members.
    get("campaigns.list", "/campaigns", Role::Viewer),
    // Not below /campaigns, where every name is a campaign's.
    get("campaigns.list-events", "/events/campaigns", Role::Viewer),
    post("campaigns.create", "/campaigns", Role::Admin),
    get("campaigns.show", "/campaigns/{code}", Role::Viewer),
    get("campaigns.events", "/campaigns/{code}/events", Role::Viewer),
    post("campaigns.open", "/campaigns/{code}/open", Role::Operator),
    post("campaigns.close", "/campaigns/{code}/close", Role::Operator),
    post("campaigns.set-total", "/campaigns/{code}/set-total", Role::Operator),
    post("campaigns.reschedule", "/campaigns/{code}/reschedule", Role::Operator),
    post("campaigns.set-admission", "/campaigns/{code}/set-admission", Role::Operator),
    post("campaigns.delete", "/campaigns/{code}/delete", Role::Admin),
    get("issues.list", "/campaigns/{code}/issues", Role::Viewer),
    get("issues.export", "/campaigns/{code}/issues/export", Role::Admin),
    get("requests.show", "/requests/{request_id}", Role::Viewer),
    get("members.find", "/members", Role::Support),
    get("members.show", "/members/{id}", Role::Support),
    post("members.erase", "/members/{id}/erase", Role::Admin),
    get("members.export", "/members/{id}/export", Role::Admin),
    // The work list, dead letters, plans and jobs.
    get("work.list", "/work", Role::Viewer),
    get("work.show", "/work/{id}", Role::Viewer),
    post("work.settle", "/work/{id}/settle", Role::Operator),
    post("work.replay", "/work/{id}/replay", Role::Operator),
    post("work.note", "/work/{id}/note", Role::Operator),
    post("work.claim", "/work/{id}/claim", Role::Operator),
    post("work.release", "/work/{id}/release", Role::Operator),
    post("filters.save", "/filters/save", Role::Viewer),
    post("filters.delete", "/filters/delete", Role::Viewer),
    get("causes.list", "/causes", Role::Viewer),
    get("dead-letters.list", "/dead-letters", Role::Viewer),
    get("dead-letters.show", "/dead-letters/{id}", Role::Viewer),
    post("dead-letters.settle", "/dead-letters/{id}/settle", Role::Operator),
    post("dead-letters.replay", "/dead-letters/{id}/replay", Role::Operator),
    post("dead-letters.note", "/dead-letters/{id}/note", Role::Operator),
    post("plans.make.replay", "/plans/replay", Role::Operator),
    post("plans.make.resolve", "/plans/resolve", Role::Operator),
    post("plans.make.ignore", "/plans/ignore", Role::Operator),
    post("plans.make.reopen", "/plans/reopen", Role::Operator),
    post("plans.make.compensate", "/plans/compensate", Role::Admin),
    post("plans.make.reconcile", "/plans/reconcile", Role::Admin),
    post("plans.make.rebuild", "/plans/rebuild", Role::Admin),
    post("plans.make.archive", "/plans/archive", Role::Admin),
    get("plans.show", "/plans/{id}", Role::Operator),
    post("plans.confirm", "/plans/{id}/confirm", Role::Operator),
    get("replays.list", "/replays", Role::Viewer),
    get("replays.show", "/replays/{id}", Role::Viewer),
    post("replays.pause", "/replays/{id}/pause", Role::Operator),
    post("replays.resume", "/replays/{id}/resume", Role::Operator),
    post("replays.cancel", "/replays/{id}/cancel", Role::Operator),
    post("replays.rate", "/replays/{id}/rate", Role::Operator),
    get("jobs.list", "/jobs", Role::Viewer),
    get("jobs.show", "/jobs/{id}", Role::Viewer),
    post("jobs.cancel", "/jobs/{id}/cancel", Role::Operator),
    get("health.doctor", "/health/doctor", Role::Viewer),
    get("find", "/find", Role::Viewer),
    get("reconcile.list", "/reconcile", Role::Viewer),
    get("reconcile.show", "/reconcile/{id}", Role::Viewer),
    post("reconcile.check", "/reconcile/check", Role::Operator),
    get("alarms.list", "/alarms", Role::Viewer),
    post("alarms.test", "/alarms/test", Role::Operator),
    get("webhooks.list", "/webhooks", Role::Viewer),
    post("webhooks.resend", "/webhooks/{id}/resend", Role::Admin),
    get("audit.list", "/audit", Role::Viewer),
    get("operators.list", "/operators", Role::Admin),
    post("operators.add", "/operators/add", Role::Admin),
    post("operators.revoke", "/operators/{name}/revoke", Role::Admin),
];

/// The routes as they are built: each handler is put in under the name of its verb.
pub(crate) struct Routes {
    handlers: BTreeMap<&'static str, MethodRouter<Console>>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { handlers: BTreeMap::new() }
    }

    /// Handles the verb `name`. The method of `handler` has to be that of the table.
    #[must_use]
    pub(crate) fn on(mut self, name: &'static str, handler: MethodRouter<Console>) -> Self {
        assert!(VERBS.iter().any(|verb| verb.name == name), "the table VERBS has no verb {name}");
        assert!(self.handlers.insert(name, handler).is_none(), "the verb {name} has two handlers");
        self
    }

    /// Returns the router, in which the guard stands before each handler.
    pub(crate) fn router(mut self, console: &Console) -> Router<Console> {
        VERBS.iter().fold(Router::new(), |router, verb| {
            let handler = self.handlers.remove(verb.name);
            let handler = handler.unwrap_or_else(|| panic!("the verb {} has no handler", verb.name));
            let gate = Gate { console: console.clone(), verb: Some(verb) };
            router.route(verb.path, handler.layer(from_fn_with_state(gate, guard)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verbs that show rows as they are, or are about the console itself.
    const OF_THE_CONSOLE: &[&str] = &[
        "home",
        "logout",
        "openapi",
        "health",
        "health.doctor",
        "find",
        "reconcile.list",
        "reconcile.show",
        "alarms.list",
        "alarms.test",
        "audit.list",
        "work.list",
        "filters.save",
        "filters.delete",
        "causes.list",
        "dead-letters.list",
        "replays.list",
        "campaigns.list",
        "campaigns.list-events",
        "issues.list",
        "members.find",
    ];

    #[test]
    fn each_function_of_operations_has_a_route_and_each_route_a_function() {
        let led_to: Vec<&str> = coupon_operations::VERBS.iter().flat_map(|(_, verbs)| verbs.iter().copied()).collect();
        for name in &led_to {
            assert!(VERBS.iter().any(|verb| verb.name == *name), "there is no route of {name}");
        }
        for verb in VERBS {
            let is_known = led_to.contains(&verb.name) || OF_THE_CONSOLE.contains(&verb.name);
            assert!(is_known, "no function of coupon-operations does {}", verb.name);
        }
    }
}
