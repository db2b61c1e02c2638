//! What was denied: counted always, and recorded in the audit. A stranger gets a few rows of it a minute and no more.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::http::{HeaderMap, header};
use coupon_core::{
    repo::audit::{Actor, Identity},
    runtime::chain,
};

use super::{Attempts, Caller, Verb};
use crate::Console;

/// Why requests and logins are denied: the role does not suffice, a foreign page asked, the token or the link is worth nothing,
/// there were too many attempts, who confirms a plan second may be who confirmed it first.
pub(crate) const DENIALS: [&str; 5] = ["ROLE", "CROSS_SITE", "TOKEN", "ATTEMPTS", "PERSON"];

/// Most rows in the audit for what an address was denied in a minute.
const MAX_OF_ADDRESS: u32 = 10;
/// Most such rows of all addresses in a minute: 144,000 a day at worst.
const MAX_OF_ALL: u32 = 100;
/// Longest text of a request that is recorded, in characters.
const MAX_TEXT: usize = 200;

/// What bounds the rows of denials.
#[derive(Debug)]
pub(crate) struct Denials {
    recorded: Attempts,
    /// Denials since the last row that got none.
    unrecorded: AtomicU64,
}

impl Default for Denials {
    fn default() -> Self {
        Self { recorded: Attempts::at_most(MAX_OF_ADDRESS, MAX_OF_ALL), unrecorded: AtomicU64::new(0) }
    }
}

/// A login, or a request that is refused whatever the role of its operator.
#[derive(Debug)]
pub(crate) struct Denial<'a> {
    /// Who asked, as far as is known.
    pub by: Identity,
    /// From where.
    pub source: Option<IpAddr>,
    /// Why it is denied, of [`DENIALS`].
    pub reason: &'static str,
    /// Name of the verb that was asked for.
    pub verb: &'a str,
    /// Path that was asked for.
    pub path: &'a str,
}

impl Console {
    /// Counts a denial, and records it while there are few.
    pub(crate) async fn deny(&self, denial: Denial<'_>, headers: &HeaderMap) {
        count(denial.reason);
        if !self.denials.recorded.admit(denial.source) {
            self.denials.unrecorded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut change = serde_json::json!({ "denied": denial.verb, "reason": denial.reason });
        if let Some(origin) = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()) {
            change["origin"] = origin.chars().take(MAX_TEXT).collect::<String>().into();
        }
        let unrecorded = self.denials.unrecorded.swap(0, Ordering::Relaxed);
        if unrecorded > 0 {
            change["unrecorded_before"] = unrecorded.into();
        }
        self.record_denial(&denial.by, denial.path, change).await;
    }

    /// Counts and records that the role of an operator does not suffice.
    pub(crate) async fn deny_role(&self, caller: &Caller, verb: &Verb, path: &str) {
        count("ROLE");
        let change = serde_json::json!({ "denied": verb.name, "needs": verb.role });
        self.record_denial(&caller.identity(""), path, change).await;
    }

    /// Counts and records that an operator is not known to be another person than who confirmed a plan first.
    pub(crate) async fn deny_person(&self, caller: &Caller, path: &str) {
        count("PERSON");
        let change = serde_json::json!({ "denied": "plans.confirm", "reason": "PERSON" });
        self.record_denial(&caller.identity(""), path, change).await;
    }

    async fn record_denial(&self, by: &Identity, path: &str, change: serde_json::Value) {
        let actor = Actor::at(by, self.operations.clock.as_ref());
        // The audit is no place for the ids of members.
        let path = if path.starts_with("/members/") { "/members/{id}" } else { path };
        let subject = path.chars().take(MAX_TEXT).collect();
        let audit = self.operations.database.audit();
        if let Err(error) = audit.append(actor, "denied".to_owned(), subject, change).await {
            tracing::warn!("a denial could not be audited: {}", chain(&error));
        }
    }
}

/// Counts a request or a login that was denied, by the reason.
fn count(reason: &'static str) {
    metrics::counter!("coupon_console_denials_total", "reason" => reason).increment(1);
}
