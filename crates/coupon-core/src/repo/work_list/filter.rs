//! The filter of commands and pages: the same for the work list and for dead letters, for one row and for many.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Arguments, postgres::PgArguments};
use uuid::Uuid;

use crate::{
    ids::{CouponCode, MemberId},
    repo::RepoError,
    words::words,
};

words! {
    /// A list that operators work through, by its table.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub enum List as "list" {
        /// Compensated requests: the work list.
        Requests = "failed_coupon_issues",
        /// Dead letters.
        DlqEvents = "dlq_events",
    }
}

/// A choice of rows; an absent field restricts nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// These numbers only; empty: any.
    pub ids: Vec<i64>,
    /// Of this status of its table.
    pub status: Option<String>,
    /// Only rows of this campaign.
    pub coupon: Option<CouponCode>,
    /// Only rows of this member.
    pub member: Option<MemberId>,
    /// Whose error fingerprint or reason contains this text, whatever the case.
    pub cause: Option<String>,
    /// Whether `cause` is looked for in the error fingerprint alone: for who may not see reasons.
    #[serde(skip)]
    pub is_cause_only: bool,
    /// Only rows of this error class.
    pub class: Option<String>,
    /// Failed at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Failed before this time.
    pub until: Option<DateTime<Utc>>,
    /// Up to this number: rows that come later are left out.
    pub up_to: Option<i64>,
    /// Above this number: for a part of the rows.
    #[serde(skip)]
    pub above: Option<i64>,
    /// Only rows of this request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Uuid>,
    /// Whose reason contains this text, whatever the case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Only entries that were replayed, or only those that were not. No dead letter matches either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
    /// Only entries that this operator has claimed. No dead letter matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
}

/// The fields of a [`Filter`] that are asked for seldom, in one argument: the names of the SQL below.
#[derive(Serialize)]
struct Seldom<'a> {
    class: Option<&'a str>,
    request_id: Option<Uuid>,
    reason: Option<&'a str>,
    replayed: Option<bool>,
    claimed_by: Option<&'a str>,
    above: Option<i64>,
    cause_only: Option<bool>,
}

/// The two halves of the condition over a table `f`, with the arguments $1 to $9 of [`Filter::arguments`]: what an index
/// finds, and what each row has to be searched for.
macro_rules! conditions {
    (indexed: $indexed:ident = $by_index:literal, searched: $searched:ident = $by_search:literal, whole: $whole:ident) => {
        /// The half of the condition that an index finds.
        const $indexed: &str = $by_index;
        /// The half of the condition that each row is searched for.
        const $searched: &str = $by_search;
        /// The whole condition over the table `f`, with the arguments $1 to $9 of [`Filter::arguments`].
        pub(in crate::repo) const $whole: &str = concat!($by_index, " AND ", $by_search);
    };
}

conditions! {
    indexed: FAILED_ISSUE_INDEXED = "
    ($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
    AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
    AND ($6::jsonb ->> 'request_id' IS NULL OR f.request_id = ($6 ->> 'request_id')::uuid)
    AND ($6 ->> 'claimed_by' IS NULL OR f.claimed_by = $6 ->> 'claimed_by')
    AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
    AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)",
    searched: FAILED_ISSUE_SEARCHED = "
    ($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
     OR $6::jsonb ->> 'cause_only' IS NULL AND strpos(lower(f.reason), lower($5)) > 0)
    AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
    AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.reason), lower($6 ->> 'reason')) > 0)
    AND ($6 ->> 'replayed' IS NULL OR (f.replay_count > 0) = ($6 ->> 'replayed')::boolean)",
    whole: FAILED_ISSUE_FILTER
}

conditions! {
    indexed: DLQ_EVENT_INDEXED = "
    ($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
    AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
    AND ($6::jsonb ->> 'request_id' IS NULL OR f.original_event_id = ($6 ->> 'request_id')::uuid)
    AND $6 ->> 'claimed_by' IS NULL AND $6 ->> 'replayed' IS NULL
    AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
    AND ($9::bigint IS NULL OR f.id <= $9) AND ($6 ->> 'above' IS NULL OR f.id > ($6 ->> 'above')::bigint)",
    searched: DLQ_EVENT_SEARCHED = "
    ($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0
     OR $6::jsonb ->> 'cause_only' IS NULL AND strpos(lower(f.error_message), lower($5)) > 0)
    AND ($6::jsonb ->> 'class' IS NULL OR f.error_class = $6 ->> 'class')
    AND ($6 ->> 'reason' IS NULL OR strpos(lower(f.error_message), lower($6 ->> 'reason')) > 0)",
    whole: DLQ_EVENT_FILTER
}

impl List {
    /// The condition of a [`Filter`] over this table, named `f`.
    pub(in crate::repo) fn condition(self) -> &'static str {
        match self {
            Self::Requests => FAILED_ISSUE_FILTER,
            Self::DlqEvents => DLQ_EVENT_FILTER,
        }
    }

    /// The half of the condition that an index finds.
    pub(super) fn indexed(self) -> &'static str {
        match self {
            Self::Requests => FAILED_ISSUE_INDEXED,
            Self::DlqEvents => DLQ_EVENT_INDEXED,
        }
    }

    /// The half of the condition that each row is searched for.
    pub(super) fn searched(self) -> &'static str {
        match self {
            Self::Requests => FAILED_ISSUE_SEARCHED,
            Self::DlqEvents => DLQ_EVENT_SEARCHED,
        }
    }
}

impl Filter {
    /// Whether rows have to be searched: no index finds what is asked for.
    pub fn is_search(&self) -> bool {
        self.cause.is_some() || self.class.is_some() || self.reason.is_some() || self.replayed.is_some()
    }

    /// The arguments $1 to $9 of [`FAILED_ISSUE_FILTER`] and [`DLQ_EVENT_FILTER`]; a statement binds its own from $10
    /// on.
    pub(in crate::repo) fn arguments(&self) -> Result<PgArguments, RepoError> {
        let mut arguments = PgArguments::default();
        let add = |arguments: &mut PgArguments| {
            arguments.add(&self.ids)?;
            arguments.add(self.status.as_deref())?;
            arguments.add(self.coupon.as_ref().map(CouponCode::as_str))?;
            arguments.add(self.member.as_ref().map(MemberId::as_str))?;
            arguments.add(self.cause.as_deref())?;
            arguments.add(sqlx::types::Json(self.seldom()))?;
            arguments.add(self.since)?;
            arguments.add(self.until)?;
            arguments.add(self.up_to)
        };
        add(&mut arguments).map_err(sqlx::Error::Encode).map_err(RepoError::doing("bind a filter"))?;
        Ok(arguments)
    }

    fn seldom(&self) -> Seldom<'_> {
        Seldom {
            class: self.class.as_deref(),
            request_id: self.request_id,
            reason: self.reason.as_deref(),
            replayed: self.replayed,
            claimed_by: self.claimed_by.as_deref(),
            above: self.above,
            cause_only: self.is_cause_only.then_some(true),
        }
    }
}
