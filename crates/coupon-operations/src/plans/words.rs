//! A change in words, and as the command line that does the same.

use coupon_core::repo::{
    coupons::Coupon,
    work_list::{Filter, List},
};
use serde_json::Value;

use super::Change;

/// Numbers of rows named in a sentence.
const MAX_NUMBERS: usize = 10;

impl Change {
    /// Returns what it does to what, in words, with the state of the campaign where that matters.
    pub(super) fn predicate(&self, coupon: Option<&Coupon>) -> String {
        let state = coupon.map(|coupon| format!(" ({}, epoch {})", coupon.status, coupon.epoch)).unwrap_or_default();
        match self {
            Self::Replay { list, filter, per_second, after_close } => {
                let late = if *after_close { ", also where the campaign is over" } else { "" };
                format!("replay {} at {per_second} a second{late}", rows(*list, filter))
            }
            Self::Resolve { list, filter } | Self::Ignore { list, filter } | Self::Reopen { list, filter } => {
                format!("{} {}", self.verb(), rows(*list, filter))
            }
            Self::Compensate { filter } => format!("compensate {}", rows(List::DlqEvents, filter)),
            Self::Reconcile { codes, apply } => {
                let codes: Vec<&str> = codes.iter().map(coupon_core::ids::CouponCode::as_str).collect();
                let which = if codes.is_empty() { "all campaigns".to_owned() } else { codes.join(", ") };
                let then = if *apply { "repair what differs" } else { "change nothing" };
                format!("compare Redis with PostgreSQL for {which}, and {then}")
            }
            Self::Rebuild { code, leave_undecided } => {
                let left = if *leave_undecided { ", leaving undecided requests behind" } else { "" };
                format!("rebuild {code}{state}{left}: its gate is closed meanwhile")
            }
            Self::Archive { code } => {
                format!("archive {code}{state}: it ends for good, and its data in Redis is deleted")
            }
        }
    }

    /// Returns the command line that does the same.
    pub(super) fn command(&self) -> String {
        let mut words = vec!["dlq-consumer".to_owned()];
        words.extend(match self {
            Self::Archive { code } => vec!["campaign".to_owned(), "archive".to_owned(), code.to_string()],
            Self::Rebuild { code, .. } => vec!["rebuild".to_owned(), code.to_string()],
            Self::Reconcile { codes, .. } => {
                ["reconcile".to_owned()].into_iter().chain(codes.iter().map(ToString::to_string)).collect()
            }
            _ => vec![self.verb().to_owned()],
        });
        if let Some((list, filter)) = self.rows() {
            let is_plain = matches!(self, Self::Compensate { .. }) || !filter.ids.is_empty();
            if list == List::DlqEvents && !is_plain {
                words.push("--dead-letters".to_owned());
            }
            words.extend(flags(list, filter));
        }
        match self {
            Self::Replay { per_second, after_close, .. } => {
                words.extend(["--per-second".to_owned(), per_second.to_string()]);
                words.extend(after_close.then(|| "--after-close".to_owned()));
            }
            Self::Reconcile { apply: true, .. } => words.push("--apply".to_owned()),
            Self::Rebuild { leave_undecided: true, .. } => words.push("--leave-undecided".to_owned()),
            _ => {}
        }
        if !matches!(self, Self::Reconcile { .. } | Self::Rebuild { .. }) {
            words.extend(["--reason", "WHY"].map(str::to_owned));
        }
        if !matches!(self, Self::Reconcile { apply: false, .. }) {
            words.extend(["--by", "NAME"].map(str::to_owned));
        }
        words.join(" ")
    }
}

/// Returns the fields of a filter that restrict, with their values as texts; without the numbers.
fn fields(list: List, filter: &Filter) -> Vec<(String, String)> {
    let Ok(Value::Object(fields)) = serde_json::to_value(filter) else { return Vec::new() };
    let text = |name: &str, value: Value| match value {
        Value::Number(id) if name == "up_to" => id.as_i64().map(|id| list.number(id).to_string()),
        Value::String(text) => Some(text),
        Value::Null | Value::Array(_) => None,
        other => Some(other.to_string()),
    };
    fields.into_iter().filter_map(|(name, value)| text(&name, value).map(|text| (name, text))).collect()
}

fn rows(list: List, filter: &Filter) -> String {
    let what = match list {
        List::Requests => "the entries of the work list",
        List::DlqEvents => "the dead letters",
    };
    let mut conditions = Vec::new();
    if !filter.ids.is_empty() {
        let numbers: Vec<String> = filter.ids.iter().take(MAX_NUMBERS).map(|id| list.number(*id).to_string()).collect();
        let more = filter.ids.len().saturating_sub(MAX_NUMBERS);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        conditions.push(format!("{}{more}", numbers.join(", ")));
    }
    conditions.extend(fields(list, filter).into_iter().map(|(name, value)| match name.as_str() {
        "coupon" => format!("campaign {value}"),
        "cause" => format!("cause “{value}”"),
        "until" => format!("before {value}"),
        other => format!("{} {value}", other.replace('_', " ")),
    }));
    format!("{what} ({})", if conditions.is_empty() { "all".to_owned() } else { conditions.join(", ") })
}

fn flags(list: List, filter: &Filter) -> Vec<String> {
    let numbers = filter.ids.iter().map(|id| list.number(*id).to_string());
    // The commands mean what waits, whatever its status, and named rows need no bound.
    let is_flag = |name: &str| name != "status" && (name != "up_to" || filter.ids.is_empty());
    let flags = fields(list, filter).into_iter().filter(|(name, _)| is_flag(name)).flat_map(|(name, value)| {
        let flag = match name.as_str() {
            "request_id" => "request".to_owned(),
            "reason" => "reason-text".to_owned(),
            other => other.replace('_', "-"),
        };
        [format!("--{flag}"), quoted(&value)]
    });
    numbers.chain(flags).collect()
}

/// Returns a word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:+-/@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_in_words_and_as_a_command_line() {
        let filter = Filter {
            coupon: Some("SPRING".parse().unwrap()),
            cause: Some("it's full".to_owned()),
            up_to: Some(17),
            ..Filter::default()
        };
        let change = Change::Resolve { list: List::Requests, filter };
        assert_eq!(
            change.predicate(None),
            "resolve the entries of the work list (cause “it's full”, campaign SPRING, up to E17)"
        );
        assert_eq!(
            change.command(),
            "dlq-consumer resolve --cause 'it'\\''s full' --coupon SPRING --up-to E17 --reason WHY --by NAME"
        );
        let filter = Filter { ids: vec![4, 5], up_to: Some(5), ..Filter::default() };
        assert_eq!(Change::Compensate { filter }.command(), "dlq-consumer compensate D4 D5 --reason WHY --by NAME");
    }
}
