//! What operators can ask for, by the function that does it, with the verbs of the console that lead there: one verb, one
//! function.

/// Functions that operators ask for, each with the verbs of the console's table that call it.
pub const VERBS: &[(&str, &[&str])] = &[
    ("add_operator", &["operators.add"]),
    ("archive", &["plans.make.archive"]),
    ("ask_redis", &["requests.show"]),
    ("begin_export", &["issues.export"]),
    ("cancel_replay", &["replays.cancel"]),
    ("cancel_service_job", &["jobs.cancel"]),
    ("claim", &["work.claim"]),
    ("close", &["campaigns.close"]),
    ("compensate", &["plans.make.compensate"]),
    ("confirm_plan", &["plans.confirm"]),
    ("create", &["campaigns.create"]),
    ("create_replay", &["plans.make.replay"]),
    ("dead_letter", &["dead-letters.show"]),
    ("delete", &["campaigns.delete"]),
    ("entry", &["work.show"]),
    ("erase_member", &["members.erase"]),
    ("export_member", &["members.export"]),
    ("find", &["campaigns.show"]),
    ("holders_of_member", &["members.show"]),
    ("in_redis", &["campaigns.show", "campaigns.events"]),
    ("job", &["replays.show"]),
    ("make_plan", &["plans.make.replay", "plans.make.reconcile", "plans.make.rebuild"]),
    ("member_standing", &["members.show"]),
    ("note", &["work.note", "dead-letters.note"]),
    ("open", &["campaigns.open"]),
    ("operators", &["operators.list"]),
    ("pause_replay", &["replays.pause"]),
    ("plan", &["plans.show"]),
    ("plan_compensation", &["plans.make.compensate"]),
    ("plan_erasure", &["members.erase"]),
    ("plan_replay", &["plans.make.replay"]),
    ("rebuild", &["plans.make.rebuild"]),
    ("reconcile", &["reconcile.check", "plans.make.reconcile"]),
    ("release", &["work.release"]),
    ("request_timeline", &["requests.show"]),
    ("resend_webhook", &["webhooks.resend"]),
    ("resume_replay", &["replays.resume"]),
    ("revoke_operator", &["operators.revoke"]),
    ("service_job", &["jobs.show"]),
    ("service_jobs", &["jobs.list"]),
    ("set_admission", &["campaigns.set-admission"]),
    ("set_replay_rate", &["replays.rate"]),
    ("set_total", &["campaigns.set-total"]),
    ("set_window", &["campaigns.reschedule"]),
    ("settle_all", &["plans.make.resolve", "plans.make.ignore", "plans.make.reopen"]),
    ("settle_each", &["work.settle", "dead-letters.settle"]),
    ("start", &["reconcile.check", "work.replay", "dead-letters.replay"]),
    ("stats", &["home"]),
    ("webhook_deliveries", &["webhooks.list"]),
    ("webhook_endpoints", &["webhooks.list"]),
];

/// Functions that no operator asks the console for: parts of others, what services do by themselves, and what only the command
/// line has.
pub const WITHOUT_VERB: &[&str] = &[
    "accept_missing_decisions",
    "all_campaigns",
    "has_workers",
    "leave_rebuild",
    "live_campaigns",
    "login_code",
    "next",
    "note_worker",
    "purge",
    "purgeable",
    "replay_decisions",
    "rows_of_member",
    "settle_replays",
    "stop_working",
    "stored_holders",
    "work_on_job",
    "work_on_replay",
    "work_replay",
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Adds the names of the public asynchronous methods in a folder and its folders.
    fn methods(folder: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                methods(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let names =
                    text.lines().filter_map(|line| line.strip_prefix("    pub async fn ")?.split(['(', '<']).next());
                found.extend(names.map(str::to_owned));
            }
        }
    }

    #[test]
    fn each_function_has_a_verb_or_a_reason_to_have_none() {
        let mut found = BTreeSet::new();
        methods(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let named = VERBS.iter().map(|(name, _)| *name).chain(WITHOUT_VERB.iter().copied());
        let named: BTreeSet<String> = named.map(str::to_owned).collect();
        let without: Vec<&String> = found.difference(&named).collect();
        assert!(without.is_empty(), "no verb of the console leads to {without:?}");
        let gone: Vec<&String> = named.difference(&found).collect();
        assert!(gone.is_empty(), "there is no function {gone:?}");
    }
}
