//! Notices: alarms that are not about dead letters.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, postgres::PgArguments, query::Query};

use crate::{
    ids::CouponCode,
    repo::{AlarmRepository, RepoError},
};

/// A notice to be left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Cause that its alarms are sent by.
    pub cause: String,
    /// Campaign, if the notice is about one.
    pub coupon_code: Option<CouponCode>,
    /// What has happened, in one sentence.
    pub message: String,
    /// Command to run.
    pub command: String,
    /// Time of the notice.
    pub now: DateTime<Utc>,
}

/// A notice.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct NoticeRow {
    /// Number.
    pub id: i64,
    /// Cause that its alarms are sent by.
    pub cause: String,
    /// Campaign.
    pub coupon_code: Option<String>,
    /// What has happened, in one sentence.
    pub message: String,
    /// Command to run.
    pub command: String,
    /// Time of the notice.
    pub created_at: DateTime<Utc>,
}

impl Notice {
    /// The notice that a campaign became SUSPECT.
    pub fn suspect(code: &CouponCode, now: DateTime<Utc>) -> Self {
        Self {
            cause: format!("SUSPECT {code}"),
            coupon_code: Some(code.clone()),
            message: format!(
                "{code} is SUSPECT: redis and postgresql disagree, and it accepts nothing until it is rebuilt"
            ),
            command: rebuild(code),
            now,
        }
    }

    /// The notice that Redis has lost the data of an open campaign.
    pub fn lost(code: &CouponCode, now: DateTime<Utc>) -> Self {
        Self {
            cause: format!("LOST {code}"),
            coupon_code: Some(code.clone()),
            message: format!("redis has lost the data of {code}, and it accepts nothing until it is rebuilt"),
            command: rebuild(code),
            now,
        }
    }
}

fn rebuild(code: &CouponCode) -> String {
    format!("dlq-consumer rebuild {code} --by NAME")
}

impl AlarmRepository<'_> {
    /// Leaves a notice. An unsent one of the same cause stays and gets the time of this one, so that nothing that was
    /// put right between the two ends it.
    pub async fn notify(self, notice: Notice) -> Result<(), RepoError> {
        self.execute("leave a notice", insert_notice(&notice)).await.map(drop)
    }
}

/// The statement that leaves a notice.
pub(in crate::repo) fn insert_notice(notice: &Notice) -> Query<'static, Postgres, PgArguments> {
    sqlx::query(
        "INSERT INTO alarm_notices (cause, coupon_code, message, command, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (cause) WHERE NOT alarm_sent
         DO UPDATE SET created_at = greatest(alarm_notices.created_at, excluded.created_at)",
    )
    .bind(&notice.cause)
    .bind(notice.coupon_code.as_ref().map(CouponCode::as_str))
    .bind(&notice.message)
    .bind(&notice.command)
    .bind(notice.now)
}
