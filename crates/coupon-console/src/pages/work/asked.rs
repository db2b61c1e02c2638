//! What a list is asked for: the query of its address, and the filter that it means.

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    failure::Class,
    repo::{
        dlq_events::DlqEventStatus,
        failed_coupon_issues::FailedIssueStatus,
        work_list::{Filter, List, Page, TypedNumber},
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    access::{Caller, SEES_MEMBERS, Verb},
    answer::{Failure, Frame},
};

/// Rows of a page, unless it is asked for another number.
const PAGE_ROWS: i64 = 50;
/// Most rows of a page.
const MAX_PAGE_ROWS: i64 = 200;

/// What a filter by member or by reason does; it is no route of its own. A reason may name its member.
const BY_MEMBER: Verb = Verb { name: "work.filter-by-member", method: "GET", path: "/work", role: SEES_MEMBERS };

/// The query of a list's address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Asked {
    /// Status of the list's rows.
    pub status: Option<String>,
    /// Campaign.
    pub campaign: Option<String>,
    /// Text in the cause or the reason.
    pub cause: Option<String>,
    /// Text in the reason.
    pub reason: Option<String>,
    /// Error class.
    pub class: Option<String>,
    /// Member.
    pub member: Option<String>,
    /// Request id.
    pub request: Option<String>,
    /// Failed at this time or later: RFC 3339, or so long ago, such as `2h`.
    pub since: Option<String>,
    /// Failed before this time.
    pub until: Option<String>,
    /// `yes` or `no`.
    pub replayed: Option<String>,
    /// Operator who has claimed it.
    pub claimed: Option<String>,
    /// No higher number.
    pub up_to: Option<String>,
    /// Only lower numbers: the page with older rows.
    pub before: Option<String>,
    /// Only higher numbers: the page with newer rows.
    pub after: Option<String>,
    /// Rows of a page.
    pub limit: Option<i64>,
}

/// A field of the form that makes a query.
pub(crate) struct Field<'a> {
    pub name: &'static str,
    pub label: &'static str,
    pub value: &'a str,
}

impl Asked {
    /// Returns the filter that the query means for this list.
    pub(crate) fn filter(&self, list: List, now: DateTime<Utc>) -> Result<Filter, Failure> {
        if list == List::DlqEvents && (self.replayed.is_some() || self.claimed.is_some()) {
            return Err(Failure::bad_input(
                "dead letters have neither `replayed` nor `claimed`: only /work knows these",
            ));
        }
        Ok(Filter {
            ids: Vec::new(),
            status: parsed(self.status.as_deref(), "status", |text| status(list, text))?,
            coupon: parsed(self.campaign.as_deref(), "campaign", |text| text.parse().ok())?,
            member: parsed(self.member.as_deref(), "member", |text| text.parse().ok())?,
            cause: self.cause.clone(),
            is_cause_only: false,
            class: parsed(self.class.as_deref(), "class", |text| {
                Some(text.to_uppercase().parse::<Class>().ok()?.as_str().to_owned())
            })?,
            since: parsed(self.since.as_deref(), "since", |text| moment(text, now))?,
            until: parsed(self.until.as_deref(), "until", |text| moment(text, now))?,
            up_to: number(self.up_to.as_deref(), list)?,
            above: None,
            request_id: parsed(self.request.as_deref(), "request", |text| text.parse().ok())?,
            reason: self.reason.clone(),
            replayed: parsed(self.replayed.as_deref(), "replayed", |text| match text {
                "yes" => Some(true),
                "no" => Some(false),
                _ => None,
            })?,
            claimed_by: self.claimed.clone(),
        })
    }

    /// Returns the page that the query means for this list.
    pub(crate) fn page(&self, list: List, now: DateTime<Utc>) -> Result<Page, Failure> {
        let (before, after) = (number(self.before.as_deref(), list)?, number(self.after.as_deref(), list)?);
        if before.is_some() && after.is_some() {
            return Err(Failure::bad_input("the address has `before` and `after`: a page has one of them"));
        }
        let limit = self.limit.unwrap_or(PAGE_ROWS);
        if !(1..=MAX_PAGE_ROWS).contains(&limit) {
            return Err(Failure::bad_input(format!("limit: a page has 1 to {MAX_PAGE_ROWS} rows")));
        }
        Ok(Page { filter: self.filter(list, now)?, before, after, limit })
    }

    /// Returns the verb of a filter by what this operator may not see; `None`: the operator may filter so.
    pub(crate) fn forbidden(&self, caller: &Caller) -> Option<&'static Verb> {
        let is_by_member = self.member.is_some() || self.reason.is_some();
        (is_by_member && !caller.may(BY_MEMBER.role)).then_some(&BY_MEMBER)
    }

    /// Returns the path with this query.
    pub(crate) fn at(&self, path: &str) -> String {
        let query = self.query();
        if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
    }

    /// Returns the query.
    pub(crate) fn query(&self) -> String {
        serde_urlencoded::to_string(self).unwrap_or_default()
    }

    /// Returns the query of the first page, with the same bound.
    pub(crate) fn first_page(&self) -> Self {
        Self { before: None, after: None, ..self.clone() }
    }

    /// Returns the query without page and bound: what is asked for, whenever it is asked.
    pub(crate) fn unbound(&self) -> Self {
        Self { up_to: None, ..self.first_page() }
    }

    /// Whether the status is this one.
    pub(crate) fn has_status(&self, status: &str) -> bool {
        self.status.as_deref() == Some(status)
    }

    /// Whether only replayed entries, or only others, are asked for.
    pub(crate) fn has_replayed(&self, word: &str) -> bool {
        self.replayed.as_deref() == Some(word)
    }

    /// Returns the fields of the form that are texts, without those by which the operator may not filter.
    pub(crate) fn fields(&self, is_work: &bool, frame: &Frame) -> Vec<Field<'_>> {
        let sees_members = frame.may(&BY_MEMBER.role);
        let cause = if sees_members { "Cause or reason has" } else { "Cause has" };
        let mut fields = vec![
            ("campaign", "Campaign", self.campaign.as_deref()),
            ("cause", cause, self.cause.as_deref()),
            ("reason", "Reason has", self.reason.as_deref()),
            ("class", "Error class", self.class.as_deref()),
            ("member", "Member", self.member.as_deref()),
            ("request", "Request id", self.request.as_deref()),
            ("since", "Since (2h, or a time)", self.since.as_deref()),
            ("until", "Until (2h, or a time)", self.until.as_deref()),
        ];
        if *is_work {
            fields.push(("claimed", "Claimed by", self.claimed.as_deref()));
        }
        fields.retain(|(name, ..)| sees_members || !matches!(*name, "member" | "reason"));
        fields.into_iter().map(|(name, label, value)| Field { name, label, value: value.unwrap_or_default() }).collect()
    }
}

/// Returns the number of a row of this list; a sentence where it is the number of another kind.
pub(crate) fn number(text: Option<&str>, list: List) -> Result<Option<i64>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let typed: TypedNumber = text.parse().map_err(|error| Failure::bad_input(format!("{error}")))?;
    typed.of(list).map(Some).map_err(|error| Failure::bad_input(error.to_string()))
}

fn parsed<T>(text: Option<&str>, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let expected = match name {
        "status" => "a status of this list, in capitals",
        "campaign" => "the code of a campaign",
        "member" => "the id of a member",
        "class" => "an error class, such as PERMANENT",
        "request" => "a request id, which is a UUID",
        "replayed" => "yes or no",
        _ => "a time such as 2026-05-01T09:00:00Z, or so long ago: 30m, 2h, 7d",
    };
    parse(text.trim()).map(Some).ok_or_else(|| Failure::bad_input(format!("{name}: {text:?} is not {expected}")))
}

fn status(list: List, text: &str) -> Option<String> {
    match list {
        List::Requests => text.parse::<FailedIssueStatus>().ok().map(|status| status.as_str().to_owned()),
        List::DlqEvents => text.parse::<DlqEventStatus>().ok().map(|status| status.as_str().to_owned()),
    }
}

/// Reads a time: RFC 3339, or so long before `now`.
fn moment(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Some(at.to_utc());
    }
    let (at, unit) = text.char_indices().next_back()?;
    let count: i64 = text[..at].parse().ok().filter(|count| *count >= 0)?;
    let ago = match unit {
        's' => TimeDelta::try_seconds(count),
        'm' => TimeDelta::try_minutes(count),
        'h' => TimeDelta::try_hours(count),
        'd' => TimeDelta::try_days(count),
        _ => None,
    };
    now.checked_sub_signed(ago?)
}

#[cfg(test)]
mod tests {
    use coupon_core::clock::{Clock, SystemClock};

    use super::*;

    fn filter(asked: &Asked, list: List) -> Result<Filter, Failure> {
        asked.filter(list, SystemClock.now())
    }

    #[test]
    fn a_query_becomes_a_filter_and_an_address_again() {
        let asked = Asked {
            status: Some("PENDING".to_owned()),
            cause: Some("disk full & more".to_owned()),
            up_to: Some("E17".to_owned()),
            before: Some("9".to_owned()),
            ..Asked::default()
        };
        let meant = filter(&asked, List::Requests).unwrap();
        assert_eq!((meant.status.as_deref(), meant.up_to), (Some("PENDING"), Some(17)));
        assert_eq!(asked.first_page().at("/work"), "/work?status=PENDING&cause=disk+full+%26+more&up_to=E17");
        assert_eq!(asked.unbound().at("/work"), "/work?status=PENDING&cause=disk+full+%26+more");
    }

    #[test]
    fn what_a_query_cannot_mean_is_a_sentence() {
        for asked in [
            Asked { status: Some("HELD".to_owned()), ..Asked::default() },
            Asked { up_to: Some("D4".to_owned()), ..Asked::default() },
            Asked { request: Some("17".to_owned()), ..Asked::default() },
            Asked { since: Some("yesterday".to_owned()), ..Asked::default() },
            Asked { replayed: Some("maybe".to_owned()), ..Asked::default() },
        ] {
            assert!(filter(&asked, List::Requests).is_err(), "{asked:?}");
        }
        let claimed = Asked { claimed: Some("olga".to_owned()), ..Asked::default() };
        assert!(filter(&claimed, List::Requests).is_ok() && filter(&claimed, List::DlqEvents).is_err());
    }
}
