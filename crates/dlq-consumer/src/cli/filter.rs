//! The choice of rows: the same flags for every verb.

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use coupon_core::runtime::Usage;
use coupon_core::{
    failure::Class,
    ids::{CouponCode, MemberId},
    repo::{
        RepoError,
        dlq_events::DlqEventStatus,
        failed_coupon_issues::FailedIssueStatus,
        replays::Plan,
        work_list::{Filter, List, Number, TypedNumber},
    },
    runtime::Escaped,
    words::UnknownWord,
};
use coupon_operations::Operations;
use uuid::Uuid;

/// A choice of rows; what is not given does not restrict.
#[derive(Debug, Args)]
#[command(next_help_heading = "Which ones")]
pub(super) struct FilterArgs {
    /// Only this coupon.
    #[arg(long, value_name = "CODE")]
    pub(super) coupon: Option<CouponCode>,
    /// Only this member.
    #[arg(long, value_name = "ID")]
    pub(super) member: Option<MemberId>,
    /// Only where the cause, or the reason as it is printed, holds this text, in upper or lower case.
    #[arg(long, value_name = "TEXT", value_parser = some_text)]
    pub(super) cause: Option<String>,
    /// Only this error class, such as PERMANENT.
    #[arg(long)]
    pub(super) class: Option<Class>,
    /// Not older: RFC 3339, or so long ago, such as 90m, 2h, 7d.
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(super) since: Option<When>,
    /// Older than this: RFC 3339, or so long ago.
    #[arg(long, value_name = "TIME", value_parser = when)]
    pub(super) until: Option<When>,
    /// Only this request.
    #[arg(long, value_name = "REQUEST_ID")]
    pub(super) request: Option<Uuid>,
    /// Only where the reason holds this text, in upper or lower case; the cause is not looked at.
    #[arg(long, value_name = "TEXT", value_parser = some_text)]
    pub(super) reason_text: Option<String>,
    /// Only entries of the work list that were replayed, or with false those that were not.
    #[arg(long, value_name = "BOOL")]
    pub(super) replayed: Option<bool>,
    /// Only entries of the work list that this person has claimed.
    #[arg(long, value_name = "NAME", value_parser = some_text)]
    pub(super) claimed_by: Option<String>,
}

/// A moment as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// This one.
    At(DateTime<Utc>),
    /// This time before now.
    Ago(TimeDelta),
}

impl When {
    fn at(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.checked_sub_signed(ago).unwrap_or(DateTime::<Utc>::MIN_UTC),
        }
    }
}

impl FilterArgs {
    /// Returns the filter; times ago are counted from `now`.
    pub(super) fn filter(self, now: DateTime<Utc>) -> Filter {
        let at = |when: Option<When>| when.map(|when| when.at(now));
        Filter {
            ids: Vec::new(),
            status: None,
            coupon: self.coupon,
            member: self.member,
            cause: self.cause,
            is_cause_only: false,
            class: self.class.map(|class| class.as_str().to_owned()),
            since: at(self.since),
            until: at(self.until),
            up_to: None,
            above: None,
            request_id: self.request,
            reason: self.reason_text,
            replayed: self.replayed,
            claimed_by: self.claimed_by,
        }
    }

    /// Whether any flag is given.
    pub(super) fn is_given(&self) -> bool {
        let Self { coupon, member, cause, class, since, until, request, reason_text, replayed, claimed_by } = self;
        let is_failure = cause.is_some() || class.is_some() || reason_text.is_some();
        let is_request = coupon.is_some() || member.is_some() || request.is_some();
        let is_time = since.is_some() || until.is_some();
        is_failure || is_request || is_time || replayed.is_some() || claimed_by.is_some()
    }
}

/// Returns the status, or a usage error if rows of this list cannot have it.
pub(super) fn status(list: List, word: Option<String>) -> Result<Option<String>, Usage> {
    let Some(word) = word else { return Ok(None) };
    let known = match list {
        List::Requests => word.parse::<FailedIssueStatus>().map(drop),
        List::DlqEvents => word.parse::<DlqEventStatus>().map(drop),
    };
    let usage = |unknown: UnknownWord| match list {
        List::Requests => Usage(format!("{unknown}; dead letters are listed with --dead-letters")),
        List::DlqEvents => Usage(unknown.to_string()),
    };
    known.map_err(usage).map(|()| Some(word))
}

/// Returns the list that `--dead-letters` chooses.
pub(super) fn list(dead_letters: bool) -> List {
    if dead_letters { List::DlqEvents } else { List::Requests }
}

/// Returns numbers; a plain one is of the list chosen, and with --dead-letters the number of an entry is a usage error.
pub(super) fn numbers(typed: &[TypedNumber], dead_letters: bool) -> Result<Vec<Number>, Usage> {
    let list = list(dead_letters);
    let number = |typed: &TypedNumber| if dead_letters { checked(*typed, list) } else { Ok(typed.or(list)) };
    typed.iter().map(number).collect()
}

/// Returns the ids of numbers, all of which have to be of this list.
pub(super) fn ids(typed: &[TypedNumber], list: List) -> Result<Vec<i64>, Usage> {
    typed.iter().map(|typed| Ok(checked(*typed, list)?.id)).collect()
}

/// Returns the id of a bound of this list, such as --up-to and --before.
pub(super) fn bound(typed: Option<TypedNumber>, list: List) -> Result<Option<i64>, Usage> {
    typed.map(|typed| Ok(checked(typed, list)?.id)).transpose()
}

fn checked(typed: TypedNumber, list: List) -> Result<Number, Usage> {
    let hint = match list {
        List::Requests => "; dead letters are meant with --dead-letters",
        List::DlqEvents => "; `dlq-consumer list --dead-letters` shows those",
    };
    typed.of(list).map(|id| list.number(id)).map_err(|wrong| Usage(format!("{wrong}{hint}")))
}

/// Returns the refused rows of a plan by reason, or `none`.
pub(super) fn refused(plan: &Plan) -> String {
    let refused: Vec<String> = plan.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    if refused.is_empty() { "none".to_owned() } else { refused.join(", ") }
}

/// Prints that a name in the filter is mistyped, and returns whether one is.
pub(super) async fn says_mistyped(operations: &Operations, list: List, filter: &Filter) -> Result<bool, RepoError> {
    let mistyped = operations.database.work_list().mistyped(list, filter).await?;
    if let Some(what) = &mistyped {
        eprintln!("{}", Escaped(what));
    }
    Ok(mistyped.is_some())
}

/// An empty text is in everything: mostly a variable of a shell that was not set.
fn some_text(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty, and would mean all of them: leave it out, or say a part of the cause".to_owned());
    }
    Ok(text.to_owned())
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(When::At(at.to_utc()));
    }
    let ago = || {
        let (at, unit) = text.char_indices().next_back()?;
        let number: i64 = text[..at].parse().ok().filter(|number| *number >= 0)?;
        match unit {
            's' => TimeDelta::try_seconds(number),
            'm' => TimeDelta::try_minutes(number),
            'h' => TimeDelta::try_hours(number),
            'd' => TimeDelta::try_days(number),
            'w' => TimeDelta::try_weeks(number),
            _ => None,
        }
    };
    let wrong = "expected RFC 3339, such as 2026-05-01T09:00:00+09:00, or a time ago in s, m, h, d or w, such as 2h";
    ago().map(When::Ago).ok_or_else(|| wrong.to_owned())
}

#[cfg(test)]
mod tests {
    use coupon_core::clock::{Clock, SystemClock};

    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        let now = when("2026-05-01T09:00:00+09:00").unwrap().at(SystemClock.now());
        assert_eq!(now.to_rfc3339(), "2026-05-01T00:00:00+00:00");
        for (text, seconds) in [("0s", 0), ("90m", 5400), ("2h", 7200), ("7d", 604_800), ("1w", 604_800)] {
            assert_eq!((now - when(text).unwrap().at(now)).num_seconds(), seconds, "{text}");
        }
        assert_eq!(when("99999999w").unwrap().at(now), DateTime::<Utc>::MIN_UTC);
        for wrong in [
            "",
            "h",
            "2",
            "-2h",
            "2 h",
            "2y",
            "1.5h",
            "99999999999999999999d",
            "9223372036854775807w",
            "yesterday",
            "2€",
        ] {
            assert!(when(wrong).is_err(), "{wrong}");
        }
    }
}
