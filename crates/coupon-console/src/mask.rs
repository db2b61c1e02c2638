//! What of a row an operator may see: the one place that pages, their JSON, exports and event streams ask.
//!
//! From the role support on an operator sees everything. A viewer sees neither members nor what operators wrote: such words may
//! name a member, and nobody can tell. Of what is hidden for viewers:
//!
//! | what | instead |
//! | --- | --- |
//! | a member's id | its first characters |
//! | that id in the message, chain and fingerprint of an error | the same |
//! | message and chain of a record that cannot be read | the fingerprint |
//! | reasons, notes and resolutions; why a job is not done | `…` |
//! | each text of stored JSON, such as a filter or a change, whose field is not in [`CHOSEN`] | `…` |
//! | examples of differences that may be members | none |
//!
//! Key, value and headers of a dead letter are left out by its page.

use coupon_core::repo::{
    audit::AuditRow,
    dlq_events::DlqEvent,
    failed_coupon_issues::FailedCouponIssue,
    jobs::ServiceJobStatus,
    replay_jobs::{Job, JobStatus},
    work_list::Note,
};
use coupon_operations::{jobs::ServiceJob, reconcile::Drift};
use serde_json::Value;

use crate::access::Caller;

/// What stands in place of words that may name a member.
const HIDDEN: &str = "…";

/// Fields of stored JSON whose texts a program chose, or that are bound to plain words: codes, statuses, times, ids of requests.
/// The text of any other field is hidden from viewers, so that a field of tomorrow is hidden until somebody has put it here.
const CHOSEN: &[&str] = &[
    // A change.
    "verb",
    "list",
    "kind",
    "code",
    "codes",
    // A filter. Its `member`, `cause`, `reason` and `claimed_by` are what somebody typed.
    "status",
    "coupon",
    "class",
    "since",
    "until",
    "request_id",
    // Old and new values in the audit.
    "from",
    "to",
    "then",
    "asked",
    "awaits",
    "refused",
    "opens_at",
    "closes_at",
    "archived_at",
    "expires_at",
    "decided_before",
    "decision",
    "format",
    "sha256",
    "topic",
    "role",
    "key_id",
    "endpoint",
    "channel",
    // A denial.
    "denied",
    "needs",
    "origin",
];

/// Masks an entry of the work list.
pub(crate) fn entry(caller: &Caller, row: &mut FailedCouponIssue) {
    let member = Member::of(caller, &row.member_id);
    member.hide_in(&mut row.reason);
    row.cause.iter_mut().for_each(|cause| member.hide_in(cause));
    row.resolution.iter_mut().for_each(|resolution| words(caller, resolution));
    row.member_id = member.shown;
}

/// Masks a dead letter.
pub(crate) fn dead_letter(caller: &Caller, row: &mut DlqEvent) {
    let Some(member) = row.member_id.take() else {
        // The record cannot be read, and what is wrong with it quotes what stands in the member's place.
        if !caller.sees_members() {
            row.error_message.clone_from(&row.cause);
            row.stack_trace.clear();
        }
        return;
    };
    let member = Member::of(caller, &member);
    for text in [&mut row.error_message, &mut row.stack_trace, &mut row.cause] {
        member.hide_in(text);
    }
    row.member_id = Some(member.shown);
}

/// Masks what an operator noted on a row.
pub(crate) fn note(caller: &Caller, row: &mut Note) {
    words(caller, &mut row.note);
}

/// Masks a change in the audit.
pub(crate) fn audit(caller: &Caller, row: &mut AuditRow) {
    words(caller, &mut row.reason);
    // Why something was denied is a code.
    let code = row.change.get("reason").filter(|_| row.verb == "denied").cloned();
    stored(caller, &mut row.change);
    if let Some(code) = code {
        row.change["reason"] = code;
    }
    if let Some(member) = row.subject.strip_prefix("/members/") {
        row.subject = format!("/members/{}", caller.member(member));
    }
}

/// Masks a replay, and returns it as JSON.
pub(crate) fn replay(caller: &Caller, row: &mut Job) -> Value {
    words(caller, &mut row.reason);
    // Else an operator has paused, resumed or cancelled it and said why, or an error has stopped it, which may name a member.
    if row.status != JobStatus::Done {
        words(caller, &mut row.note);
    }
    let mut json = serde_json::to_value(&*row).unwrap_or_default();
    stored(caller, &mut json["filter"]);
    json
}

/// Masks a job that is no replay, and returns it as JSON.
pub(crate) fn job(caller: &Caller, row: &mut ServiceJob) -> Value {
    words(caller, &mut row.reason);
    // An operator has cancelled it and said why, or an error has ended it.
    if row.status != ServiceJobStatus::Done {
        words(caller, &mut row.note);
    }
    let reports = row.progress.get_mut("reports").and_then(Value::as_array_mut).into_iter().flatten();
    reports.filter_map(|report| report.get_mut("drift")).for_each(|found| drift(caller, found));
    let mut json = serde_json::to_value(&*row).unwrap_or_default();
    stored(caller, &mut json["change"]);
    json
}

/// Removes the examples of differences, by kind, that may be members: what Redis holds where an id of a request should be.
pub(crate) fn drift(caller: &Caller, found: &mut Value) {
    if caller.sees_members() {
        return;
    }
    for (name, drift) in found.as_object_mut().into_iter().flatten() {
        let kind = Drift::ALL.into_iter().find(|kind| kind.as_str() == name);
        let may_be_members = matches!(kind, None | Some(Drift::UnreadableHolder | Drift::UnreadableEntry));
        if let Some(examples) = drift.get_mut("examples").filter(|_| may_be_members) {
            *examples = Value::Array(Vec::new());
        }
    }
}

/// Hides what an operator wrote.
fn words(caller: &Caller, text: &mut String) {
    if !caller.sees_members() && !text.is_empty() {
        HIDDEN.clone_into(text);
    }
}

/// Masks the texts of stored JSON by the names of their fields.
fn stored(caller: &Caller, value: &mut Value) {
    if !caller.sees_members() {
        hide_texts(caller, "", value);
    }
}

fn hide_texts(caller: &Caller, field: &str, value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| hide_texts(caller, name, value)),
        // The texts of a list are of the field that it is.
        Value::Array(values) => values.iter_mut().for_each(|value| hide_texts(caller, field, value)),
        Value::String(member) if field.starts_with("member") => *member = caller.member(member),
        Value::String(text) if !CHOSEN.contains(&field) => words(caller, text),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Replaces one member's id in texts of the program by what the operator may see of it.
struct Member {
    id: String,
    shown: String,
}

impl Member {
    fn of(caller: &Caller, id: &str) -> Self {
        Self { shown: caller.member(id), id: id.to_owned() }
    }

    fn hide_in(&self, text: &mut String) {
        if self.shown != self.id && !self.id.is_empty() && text.contains(&self.id) {
            *text = text.replace(&self.id, &self.shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::repo::audit::Login;
    use serde_json::json;

    use super::*;
    use crate::access::{Rendering, Role};

    fn caller(role: Role) -> Caller {
        Caller {
            name: "vera".to_owned(),
            role,
            login: Login::Token,
            source: String::new(),
            session: None,
            rendering: Rendering::Json,
            view: String::new(),
        }
    }

    #[test]
    fn a_viewer_sees_no_text_of_stored_json_but_those_that_are_known_to_be_chosen() {
        let filter = json!({
            "ids": [7], "status": "PENDING", "coupon": "SPRING", "member": "zenobia-4711", "cause": "zenobia", "reason": "zenobia",
            "claimed_by": "zenobia", "up_to": 9, "of_tomorrow": "zenobia",
        });
        let whole = json!({ "verb": "replay", "codes": ["SPRING"], "filter": filter, "words": ["zenobia"] });
        let mut shown = whole.clone();
        stored(&caller(Role::Viewer), &mut shown);
        let hidden = json!({
            "ids": [7], "status": "PENDING", "coupon": "SPRING", "member": "ze…", "cause": "…", "reason": "…",
            "claimed_by": "…", "up_to": 9, "of_tomorrow": "…",
        });
        assert_eq!(shown, json!({ "verb": "replay", "codes": ["SPRING"], "filter": hidden, "words": ["…"] }));
        let mut shown = whole.clone();
        stored(&caller(Role::Support), &mut shown);
        assert_eq!(shown, whole);
    }
}
