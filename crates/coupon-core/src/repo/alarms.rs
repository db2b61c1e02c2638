//! Dead letters that nobody has been told of yet.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Database, RepoError, dead_letters::LetterStatus};

/// One announcement: a compensated request by itself, or all letters of one kind, campaign and cause together.
#[derive(Clone, Debug)]
pub struct Announcement {
    /// What became of the letters.
    pub status: LetterStatus,
    /// Campaign; `None` for records that cannot be read.
    pub coupon_code: Option<String>,
    /// What they are counted under.
    pub cause: String,
    /// How many.
    pub count: usize,
    /// The first of them.
    pub letter_id: i64,
    /// Its row on the work list.
    pub failed_issue_id: Option<i64>,
    /// Its request.
    pub request_id: Option<Uuid>,
    /// Its last error.
    pub error_message: String,
}

#[derive(sqlx::FromRow)]
struct Silent {
    id: i64,
    #[sqlx(try_from = "String")]
    status: LetterStatus,
    coupon_code: Option<String>,
    cause: String,
    failed_issue_id: Option<i64>,
    original_event_id: Option<Uuid>,
    error_message: String,
}

impl Database {
    /// Claims letters nobody has been told of, hands them to `announce`, and notes that they were told of.
    ///
    /// Told of before the commit: a crash between the two tells twice, never not at all. Letters another replica is
    /// telling of are skipped. Held and parked letters are told of by cause, each cause once in `quiet` over all
    /// replicas; what comes within that time waits for the next one and is counted in it.
    pub async fn announce(
        &self,
        limit: i64,
        now: DateTime<Utc>,
        quiet: chrono::TimeDelta,
        announce: impl Fn(&Announcement) + Send + 'static,
    ) -> Result<usize, RepoError> {
        self.detached("announce dead letters", move |pool| async move {
            let mut tx = pool.begin().await?;
            // Causes that were announced within the quiet time are left out, so that one noisy cause does not keep the
            // others from being heard.
            let silent: Vec<Silent> = sqlx::query_as(
                "SELECT id, status, coupon_code, cause, failed_issue_id, original_event_id, error_message
                 FROM dlq_events letter
                 WHERE NOT alarm_sent AND (status = 'COMPENSATED' OR NOT EXISTS (
                     SELECT FROM alarm_causes
                     WHERE alarm_key = concat_ws(' ', letter.status, coalesce(letter.coupon_code, '-'), letter.cause)
                       AND announced_at > $2))
                 ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED",
            )
            .bind(limit)
            .bind(now - quiet)
            .fetch_all(&mut *tx)
            .await?;
            let mut told = Vec::new();
            for group in by_cause(silent) {
                if group[0].status != LetterStatus::Compensated && !claim_cause(&mut tx, &group, now, quiet).await? {
                    continue;
                }
                told.extend(group.iter().map(|letter| letter.id));
                announce(&announcement(group));
            }
            sqlx::query("UPDATE dlq_events SET alarm_sent = true, updated_at = $2 WHERE id = ANY($1)")
                .bind(&told)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(told.len())
        })
        .await
    }
}

/// Compensated letters stay apart; the others go together by kind, campaign and cause. Ordered by key, so that two
/// replicas claim causes in the same order.
fn by_cause(silent: Vec<Silent>) -> Vec<Vec<Silent>> {
    let mut groups = std::collections::BTreeMap::<String, Vec<Silent>>::new();
    for letter in silent {
        let apart = if letter.status == LetterStatus::Compensated { letter.id } else { 0 };
        groups.entry(format!("{apart:020} {}", alarm_key(&letter))).or_default().push(letter);
    }
    groups.into_values().collect()
}

fn alarm_key(letter: &Silent) -> String {
    format!("{} {} {}", letter.status, letter.coupon_code.as_deref().unwrap_or("-"), letter.cause)
}

async fn claim_cause(
    tx: &mut PgConnection,
    group: &[Silent],
    now: DateTime<Utc>,
    quiet: chrono::TimeDelta,
) -> Result<bool, sqlx::Error> {
    let claimed: Option<bool> = sqlx::query_scalar(
        "INSERT INTO alarm_causes AS alarm (alarm_key, announced_at, announced_count) VALUES ($1, $2, $3)
         ON CONFLICT (alarm_key) DO UPDATE
         SET announced_at = excluded.announced_at, announced_count = alarm.announced_count + excluded.announced_count
         WHERE alarm.announced_at <= $4
         RETURNING true",
    )
    .bind(alarm_key(&group[0]))
    .bind(now)
    .bind(i64::try_from(group.len()).unwrap_or(i64::MAX))
    .bind(now - quiet)
    .fetch_optional(tx)
    .await?;
    Ok(claimed.is_some())
}

fn announcement(group: Vec<Silent>) -> Announcement {
    let count = group.len();
    let first = group.into_iter().next().expect("a group is made for its first letter");
    Announcement {
        status: first.status,
        coupon_code: first.coupon_code,
        cause: first.cause,
        count,
        letter_id: first.id,
        failed_issue_id: first.failed_issue_id,
        request_id: first.original_event_id,
        error_message: first.error_message,
    }
}
