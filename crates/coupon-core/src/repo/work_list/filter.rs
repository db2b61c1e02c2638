//! The filter of commands and pages: the same for the work list and for dead letters, for one row and for many.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Arguments, postgres::PgArguments};

use crate::{
    ids::{CouponCode, MemberId},
    repo::RepoError,
    words::words,
};

words! {
    /// A list that operators work through, by its table.
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
    /// Only rows of this error class.
    pub class: Option<String>,
    /// Failed at this time or later.
    pub since: Option<DateTime<Utc>>,
    /// Failed before this time.
    pub until: Option<DateTime<Utc>>,
    /// Up to this number: rows that come later are left out.
    pub up_to: Option<i64>,
}

/// The condition over `failed_coupon_issues f`, with the arguments $1 to $9 of [`Filter::arguments`].
pub(in crate::repo) const FAILED_ISSUE_FILTER: &str = "
    ($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
    AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
    AND ($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
         OR strpos(lower(f.reason), lower($5)) > 0)
    AND ($6::text IS NULL OR f.error_class = $6)
    AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
    AND ($9::bigint IS NULL OR f.id <= $9)";

/// The condition over `dlq_events f`, with the same arguments.
pub(in crate::repo) const DLQ_EVENT_FILTER: &str = "
    ($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
    AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
    AND ($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
    AND ($6::text IS NULL OR f.error_class = $6)
    AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
    AND ($9::bigint IS NULL OR f.id <= $9)";

impl List {
    /// The condition of a [`Filter`] over this table, named `f`.
    pub(in crate::repo) fn condition(self) -> &'static str {
        match self {
            Self::Requests => FAILED_ISSUE_FILTER,
            Self::DlqEvents => DLQ_EVENT_FILTER,
        }
    }
}

impl Filter {
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
            arguments.add(self.class.as_deref())?;
            arguments.add(self.since)?;
            arguments.add(self.until)?;
            arguments.add(self.up_to)
        };
        add(&mut arguments).map_err(sqlx::Error::Encode).map_err(RepoError::doing("bind a filter"))?;
        Ok(arguments)
    }
}
