//! What a filter chooses in words, and how far a job is.

use coupon_core::repo::work_list::List;
use serde_json::Value;

/// Numbers that are named.
const MAX_NUMBERS: usize = 20;

/// Returns what a filter chooses, as names and values. `filter` is the JSON that the operator may see, so that a page shows no
/// more than it.
pub(super) fn words(list: List, filter: &Value) -> Vec<(&'static str, String)> {
    let text = |name: &str| filter[name].as_str().map(str::to_owned);
    let number = |id: &Value| Some(list.number(id.as_i64()?).to_string());
    let ids: Vec<String> = filter["ids"].as_array().into_iter().flatten().filter_map(number).collect();
    let more = ids.len().saturating_sub(MAX_NUMBERS);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let fields = [
        ("numbers", (!ids.is_empty()).then(|| ids[..ids.len().min(MAX_NUMBERS)].join(", ") + &more)),
        ("status", text("status")),
        ("campaign", text("coupon")),
        ("member", text("member")),
        ("cause or reason has", text("cause")),
        ("reason has", text("reason")),
        ("class", text("class")),
        ("request", text("request_id")),
        ("since", text("since")),
        ("until", text("until")),
        ("replayed", filter["replayed"].as_bool().map(|is| if is { "yes" } else { "no" }.to_owned())),
        ("claimed by", text("claimed_by")),
        ("up to", number(&filter["up_to"])),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_told_in_words_and_no_more_of_it_than_its_json_has() {
        let filter = json!({
            "ids": [7, 9], "status": "PENDING", "coupon": null, "member": "ze…", "cause": "…", "replayed": true, "up_to": 12,
        });
        let told = [
            ("numbers", "E7, E9"),
            ("status", "PENDING"),
            ("member", "ze…"),
            ("cause or reason has", "…"),
            ("replayed", "yes"),
            ("up to", "E12"),
        ];
        assert_eq!(words(List::Requests, &filter), told.map(|(name, value)| (name, value.to_owned())));
        let many = json!({ "ids": (1..=25).collect::<Vec<i64>>() });
        assert!(words(List::DlqEvents, &many)[0].1.ends_with("D19, D20 and 5 more"));
    }
}
