//! What a filter chooses in words, and how far a job is.

use coupon_core::repo::work_list::{Filter, List};
use serde_json::Value;

use crate::{
    access::{Caller, Role},
    pages::work::HIDDEN,
};

/// Returns what a filter chooses, as names and values.
pub(super) fn words(caller: &Caller, list: List, filter: &Filter) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.clone();
    let ids: Vec<String> = filter.ids.iter().take(20).map(|id| list.number(*id).to_string()).collect();
    let more = if filter.ids.len() > ids.len() {
        format!(" and {} more", filter.ids.len() - ids.len())
    } else {
        String::new()
    };
    let fields = [
        ("numbers", (!ids.is_empty()).then(|| ids.join(", ") + &more)),
        ("status", text(&filter.status)),
        ("campaign", filter.coupon.as_ref().map(ToString::to_string)),
        ("member", filter.member.as_ref().map(|member| caller.member(member.as_str()))),
        ("cause or reason has", text(&filter.cause)),
        ("reason has", filter.reason.as_ref().map(|reason| hidden(caller, reason))),
        ("class", text(&filter.class)),
        ("request", filter.request_id.map(|id| id.to_string())),
        ("since", filter.since.map(|at| at.to_rfc3339())),
        ("until", filter.until.map(|at| at.to_rfc3339())),
        ("replayed", filter.replayed.map(|is| if is { "yes" } else { "no" }.to_owned())),
        ("claimed by", text(&filter.claimed_by)),
        ("up to", filter.up_to.map(|id| list.number(id).to_string())),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Returns a text by which an operator filters: it may name a member.
fn hidden(caller: &Caller, text: &str) -> String {
    if caller.may(Role::Support) { text.to_owned() } else { HIDDEN.to_owned() }
}

/// Hides the member of a filter in JSON, and a text in its reason, from those who may not see members.
pub(super) fn mask(caller: &Caller, filter: &mut Value) {
    if caller.may(Role::Support) {
        return;
    }
    if let Some(member) = filter.get_mut("member").filter(|member| member.is_string()) {
        *member = caller.member(member.as_str().unwrap_or_default()).into();
    }
    if let Some(reason) = filter.get_mut("reason").filter(|reason| reason.is_string()) {
        *reason = HIDDEN.into();
    }
}

/// Returns numbers by reason, most first.
pub(super) fn by_reason(refused: &Value) -> Vec<(String, i64)> {
    let counts = refused.as_object().into_iter().flatten();
    let mut counts: Vec<(String, i64)> = counts
        .filter_map(|(reason, count)| Some((reason.clone(), count.as_i64()?)))
        .filter(|(_, count)| *count > 0)
        .collect();
    counts.sort_by(|(a, one), (b, other)| other.cmp(one).then_with(|| a.cmp(b)));
    counts
}
