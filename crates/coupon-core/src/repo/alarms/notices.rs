//! Notices: what somebody has to be told of that is no dead letter.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::{
    ids::CouponCode,
    repo::{AlarmRepository, RepoError},
};

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is counted under.
    pub cause: String,
    /// Campaign, if it is about one.
    pub coupon_code: Option<CouponCode>,
    /// What is so, in one sentence.
    pub message: String,
    /// What to run.
    pub command: String,
    /// When it was noticed.
    pub now: DateTime<Utc>,
}

/// A notice as it was left.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct NoticeRow {
    /// Number.
    pub id: i64,
    /// What it is counted under.
    pub cause: String,
    /// Campaign.
    pub coupon_code: Option<String>,
    /// What is so.
    pub message: String,
    /// What to run.
    pub command: String,
    /// When it was noticed.
    pub created_at: DateTime<Utc>,
}

impl Notice {
    /// A campaign became SUSPECT.
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

    /// Redis has lost the data of an open campaign.
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
    /// Leaves a notice for whoever tells of alarms. One of its cause that waits already stays, and is as new as this one: what
    /// was put right between the two ends nothing.
    pub async fn notify(self, notice: Notice) -> Result<(), RepoError> {
        self.write("leave a notice", move |pool| async move {
            let mut connection = pool.acquire().await?;
            insert_notice(&mut connection, &notice).await
        })
        .await
    }
}

/// Leaves a notice in the transaction of what it tells.
pub(in crate::repo) async fn insert_notice(tx: &mut PgConnection, notice: &Notice) -> Result<(), sqlx::Error> {
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
    .execute(tx)
    .await
    .map(drop)
}
