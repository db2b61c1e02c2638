//! Which rows an operator means: the same words for the work list and for dead letters, for one row and for many.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Arguments, postgres::PgArguments};

use super::{dead_letters::DlqEventStatus, failed_issues::FailedIssueStatus};
use crate::ids::{CouponCode, MemberId};

/// A choice of rows; what is not given does not restrict.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// These numbers only; empty: any.
    pub ids: Vec<i64>,
    /// Of this status, a word of [`FailedIssueStatus`] or [`DlqEventStatus`].
    pub status: Option<String>,
    /// Of this campaign.
    pub coupon: Option<CouponCode>,
    /// Of this member.
    pub member: Option<MemberId>,
    /// Whose cause or reason holds this text, whatever the case.
    pub cause: Option<String>,
    /// Of this error class.
    pub class: Option<String>,
    /// Not older.
    pub since: Option<DateTime<Utc>>,
    /// Older than this.
    pub until: Option<DateTime<Utc>>,
    /// No higher number: what comes later is not meant.
    pub up_to: Option<i64>,
}

/// The condition over `failed_coupon_issues f`, with the arguments $1 to $9 of [`Filter::arguments`].
pub(super) const FAILED_ISSUE_FILTER: &str = "
    ($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
    AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
    AND ($5::text IS NULL OR strpos(lower(coalesce(f.cause, concat_ws(' ', f.error_class, f.error_code))), lower($5)) > 0
         OR strpos(lower(f.reason), lower($5)) > 0)
    AND ($6::text IS NULL OR f.error_class = $6)
    AND ($7::timestamptz IS NULL OR f.failed_at >= $7) AND ($8::timestamptz IS NULL OR f.failed_at < $8)
    AND ($9::bigint IS NULL OR f.id <= $9)";

/// The condition over `dlq_events f`, with the same arguments.
pub(super) const DLQ_EVENT_FILTER: &str = "
    ($1::bigint[] = '{}' OR f.id = ANY($1)) AND ($2::text IS NULL OR f.status = $2)
    AND ($3::text IS NULL OR f.coupon_code = $3) AND ($4::text IS NULL OR f.member_id = $4)
    AND ($5::text IS NULL OR strpos(lower(f.cause), lower($5)) > 0 OR strpos(lower(f.error_message), lower($5)) > 0)
    AND ($6::text IS NULL OR f.error_class = $6)
    AND ($7::timestamptz IS NULL OR f.created_at >= $7) AND ($8::timestamptz IS NULL OR f.created_at < $8)
    AND ($9::bigint IS NULL OR f.id <= $9)";

impl Filter {
    /// The same, of this status of the work list.
    #[must_use]
    pub fn of_status(self, status: FailedIssueStatus) -> Self {
        Self { status: Some(status.as_str().to_owned()), ..self }
    }

    /// The same, of this status of dead letters.
    #[must_use]
    pub fn of_letter_status(self, status: DlqEventStatus) -> Self {
        Self { status: Some(status.as_str().to_owned()), ..self }
    }

    /// The arguments $1 to $9 of [`FAILED_ISSUE_FILTER`] and [`DLQ_EVENT_FILTER`]; what a statement needs beyond them comes after.
    pub(super) fn arguments(&self) -> Result<PgArguments, sqlx::Error> {
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
        add(&mut arguments).map_err(sqlx::Error::Encode)?;
        Ok(arguments)
    }
}
