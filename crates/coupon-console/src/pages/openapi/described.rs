//! Each verb in a sentence, with the type that it reads and the fields that it answers.

use super::{
    description::{Described, none, stream, verb},
    fields::{Field, fields},
};
use crate::pages::{
    alarms, audit, campaigns, find, jobs, members, operators, personal_data, plans, reconcile, requests, webhooks, work,
};

/// Every verb.
pub(super) const DESCRIBED: &[Described] = &[
    verb(
        "home",
        "What is wrong, what waits, why, and what runs.",
        none,
        &[
            ("now", "string"),
            ("waits_for", "array"),
            ("alarms", "tile"),
            ("waiting", "tile"),
            ("causes", "tile"),
            ("campaigns", "tile"),
            ("under_way", "tile"),
            ("budget", "tile"),
        ],
    ),
    verb("logout", "Ends the session of a browser.", none, &[]),
    verb(
        "openapi",
        "This document.",
        none,
        &[
            ("openapi", "string"),
            ("info", "object"),
            ("servers", "array"),
            ("security", "array"),
            ("paths", "object"),
            ("components", "object"),
        ],
    ),
    verb(
        "health",
        "What the service waits for, how far the groups are, versions and settings.",
        none,
        &[
            ("version", "string"),
            ("report", "object"),
            ("postgresql", "tile"),
            ("redis", "tile"),
            ("kafka", "tile"),
            ("breakers", "array"),
            ("groups", "array"),
            ("settings", "string"),
        ],
    ),
    verb("health.doctor", "Checks every server now, in 2 s at most.", none, &[("findings", "array")]),
    verb(
        "find",
        "Says which page a number, a request, a member or a code leads to.",
        find_fields,
        &[("path", "string")],
    ),
    verb(
        "reconcile.list",
        "Drift by kind in the last comparison of each campaign, and the history.",
        fields::<reconcile::Asked>,
        &[
            ("now", "string"),
            ("coupon", "string?"),
            ("campaigns", "integer"),
            ("drift", "array"),
            ("runs", "array"),
            ("next_before", "integer?"),
        ],
    ),
    verb("reconcile.show", "One comparison of the history.", none, &[("run", "object"), ("drift", "array")]),
    verb(
        "reconcile.check",
        "Starts a comparison that changes nothing, as a job.",
        fields::<reconcile::Check>,
        &[("path", "string"), ("job_id", "integer")],
    ),
    verb(
        "alarms.list",
        "Open causes, what is undelivered, notices, and how the channels fare.",
        none,
        &[
            ("now", "string"),
            ("open", "tile"),
            ("unsent", "tile"),
            ("notices", "tile"),
            ("channels", "tile"),
            ("without_channels", "string?"),
        ],
    ),
    verb("alarms.test", "Sends a test alarm through each channel.", fields::<alarms::Test>, &[("channels", "array")]),
    verb(
        "webhooks.list",
        "What was sent to webhooks, newest first, and how their endpoints fare.",
        fields::<webhooks::Asked>,
        &[("now", "string"), ("endpoints", "tile"), ("deliveries", "tile"), ("older", "string?")],
    ),
    verb(
        "webhooks.resend",
        "Sends a delivery again, with its first webhook-id; its endpoint is switched on.",
        fields::<webhooks::Resend>,
        &[("delivery", "integer"), ("endpoint", "string")],
    ),
    verb(
        "audit.list",
        "Who did what, newest first; as CSV with format=csv.",
        fields::<audit::Asked>,
        &[("filter", "object"), ("rows", "array"), ("next_before", "integer?")],
    ),
    verb("operators.list", "Operators with a token of their own.", none, &[("now", "string"), ("operators", "array")]),
    verb(
        "operators.add",
        "Adds an operator. The token is in the answer, and nowhere else.",
        fields::<operators::New>,
        &[("name", "string"), ("role", "string"), ("expires_at", "string"), ("token", "string")],
    ),
    verb(
        "operators.revoke",
        "Revokes an operator's token and sessions.",
        fields::<operators::Revoke>,
        &[("name", "string"), ("revoked", "boolean")],
    ),
    verb(
        "campaigns.list",
        "Campaigns, newest first.",
        fields::<campaigns::Asked>,
        &[("now", "string"), ("campaigns", "array"), ("next_before", "string?")],
    ),
    stream("campaigns.list-events", "Tells every second whether the list has changed.", none, "text/event-stream"),
    verb("campaigns.create", "Creates a campaign as DRAFT.", fields::<campaigns::New>, &[]),
    verb(
        "campaigns.show",
        "A campaign with the way of its requests.",
        fields::<campaigns::ShowAsked>,
        &[("remarks", "array")],
    ),
    stream("campaigns.events", "The figures of a campaign, every second.", none, "text/event-stream"),
    verb("campaigns.open", "Opens a campaign.", fields::<campaigns::Why>, &[]),
    verb("campaigns.close", "Closes a campaign.", fields::<campaigns::Why>, &[]),
    verb("campaigns.set-total", "Changes the number of units.", fields::<campaigns::Total>, &[]),
    verb("campaigns.reschedule", "Changes the window.", fields::<campaigns::Window>, &[]),
    verb(
        "campaigns.set-admission",
        "Changes whether a unit is reserved only with a token of the waiting room.",
        fields::<campaigns::Admission>,
        &[],
    ),
    verb("campaigns.delete", "Deletes a DRAFT.", fields::<campaigns::Why>, &[("deleted", "string")]),
    verb(
        "issues.list",
        "Who got it.",
        fields::<campaigns::IssuesAsked>,
        &[
            ("campaign", "object"),
            ("issues", "array"),
            ("next_after", "string?"),
            ("export_before", "string"),
            ("exports", "array"),
        ],
    ),
    stream("issues.export", "The same as a file, up to a bound.", fields::<campaigns::ExportAsked>, "text/csv"),
    verb("requests.show", "What became of a request.", fields::<requests::Asked>, &[("redis", "any")]),
    verb("members.find", "Leads to a member.", fields::<members::LookedUp>, &[("parameters", "array")]),
    verb(
        "members.show",
        "What a member has, and why not.",
        fields::<members::Asked>,
        &[("member_id", "string"), ("redis", "any")],
    ),
    verb(
        "members.erase",
        "Puts a pseudonym in the place of a member's id; without `typed` it only counts what names the member.",
        fields::<personal_data::EraseForm>,
        &[("pseudonym", "string")],
    ),
    verb(
        "members.export",
        "All that is stored about a member.",
        none,
        &[("member_id", "string"), ("decisions", "array"), ("tables", "object"), ("redis", "array")],
    ),
    verb("work.list", "Entries of the work list, newest first.", fields::<work::Asked>, LISTING),
    verb(
        "work.show",
        "One entry with its replays, dead letters, notes and audit.",
        none,
        &[
            ("id", "integer"),
            ("status", "string"),
            ("replays", "array"),
            ("dead_letters", "array"),
            ("audit", "array"),
            ("notes", "array"),
        ],
    ),
    verb("work.settle", "Resolves, ignores or reopens one entry.", fields::<work::SettleForm>, CHANGED),
    verb("work.replay", "Replays one entry, as a job.", fields::<work::ReplayForm>, JOB),
    verb("work.note", "Adds a note to an entry.", fields::<work::NoteForm>, &[]),
    verb("work.claim", "Says that the operator looks after an entry.", none, CHANGED),
    verb("work.release", "Takes the claim back.", none, CHANGED),
    verb(
        "filters.save",
        "Keeps a view of a list under a name.",
        fields::<work::SaveForm>,
        &[("name", "string"), ("view", "string")],
    ),
    verb("filters.delete", "Deletes a kept view.", fields::<work::DeleteForm>, &[("name", "string")]),
    verb("causes.list", "What waits, by cause.", none, &[("causes", "tile"), ("counted_up_to", "integer")]),
    verb("dead-letters.list", "Dead letters, newest first.", fields::<work::Asked>, LISTING),
    verb(
        "dead-letters.show",
        "One dead letter: headers, key and value for who may see them, its entry, notes and audit.",
        none,
        &[("id", "integer"), ("status", "string"), ("headers", "array"), ("audit", "array"), ("notes", "array")],
    ),
    verb("dead-letters.settle", "Resolves, ignores or reopens one dead letter.", fields::<work::SettleForm>, CHANGED),
    verb("dead-letters.replay", "Replays one dead letter, as a job.", fields::<work::ReplayForm>, JOB),
    verb("dead-letters.note", "Adds a note to a dead letter.", fields::<work::NoteForm>, &[]),
    verb("plans.make.replay", "Plans a replay.", fields::<plans::PlanForm>, PLAN),
    verb("plans.make.resolve", "Plans that rows become RESOLVED.", fields::<plans::PlanForm>, PLAN),
    verb("plans.make.ignore", "Plans that rows become IGNORED.", fields::<plans::PlanForm>, PLAN),
    verb("plans.make.reopen", "Plans that rows wait again.", fields::<plans::PlanForm>, PLAN),
    verb(
        "plans.make.compensate",
        "Plans to decide dead letters against their members.",
        fields::<plans::PlanForm>,
        PLAN,
    ),
    verb("plans.make.reconcile", "Plans a comparison that repairs.", fields::<plans::PlanForm>, PLAN),
    verb("plans.make.rebuild", "Plans the rebuild of a campaign's data in Redis.", fields::<plans::PlanForm>, PLAN),
    verb("plans.make.archive", "Plans the end of a campaign for good.", fields::<plans::PlanForm>, PLAN),
    verb("plans.show", "What a plan would change.", none, PLAN),
    verb("plans.confirm", "Confirms a plan, which becomes a job.", fields::<plans::ConfirmForm>, &[]),
    verb(
        "replays.list",
        "Replays, newest first.",
        fields::<jobs::Asked>,
        &[("replays", "array"), ("older", "string?")],
    ),
    verb(
        "replays.show",
        "How far a replay is.",
        none,
        &[("job_id", "integer"), ("status", "string"), ("rows_per_second", "number"), ("seconds_left", "integer?")],
    ),
    verb("replays.pause", "Pauses a replay.", fields::<jobs::JobForm>, &[("replay", "integer")]),
    verb("replays.resume", "Goes on with a replay.", fields::<jobs::JobForm>, &[("replay", "integer")]),
    verb("replays.cancel", "Ends a replay for good.", fields::<jobs::JobForm>, &[("replay", "integer")]),
    verb("replays.rate", "Changes the rate of a replay.", fields::<jobs::JobForm>, &[("replay", "integer")]),
    verb(
        "jobs.list",
        "Jobs of the service, newest first.",
        fields::<jobs::Asked>,
        &[("jobs", "array"), ("older", "string?")],
    ),
    verb(
        "jobs.show",
        "How far a job is.",
        none,
        &[("job_id", "integer"), ("status", "string"), ("seconds_left", "integer?")],
    ),
    verb("jobs.cancel", "Cancels a job.", fields::<jobs::JobForm>, &[("job", "integer")]),
];

/// A page of a list.
const LISTING: &[(&str, &str)] = &[
    ("filter", "object"),
    ("rows", "array"),
    ("total", "tile"),
    ("newer", "tile"),
    ("older", "string?"),
    ("saved", "tile"),
];
/// The outcome of a change of one row.
const CHANGED: &[(&str, &str)] = &[("number", "string"), ("changed", "boolean"), ("detail", "string")];
/// A job that was started.
const JOB: &[(&str, &str)] = &[("job", "object")];
/// A plan.
const PLAN: &[(&str, &str)] = &[
    ("plan_id", "integer"),
    ("predicate", "string"),
    ("eligible", "integer?"),
    ("refused", "object"),
    ("at_least", "boolean"),
    ("sample", "array"),
];

/// The fields of [`find::Asked`]. It takes what lacks `q`, to refuse it in a sentence of its own.
fn find_fields() -> Vec<Field> {
    fields::<find::Asked>().into_iter().map(|field| Field { is_required: field.name == "q", ..field }).collect()
}
