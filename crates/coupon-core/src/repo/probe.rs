//! Probes: whether PostgreSQL commits a write of the service now.
//!
//! An SQLSTATE does not tell well whether a row is refused or the database is away: a revoked right, an exhausted
//! sequence and a renamed table look like the fault of the row, and a locked table looks like contention on one member.
//! So a refusal that may be of a row, and contention, are confirmed by a probe that does the same kind of write. A lock
//! on one campaign does not reach the probe, which writes none.

use sqlx::Postgres;
use tokio::{sync::Mutex, time::Instant};

use super::{Database, RepoError, coupon_issues, pool::Pool};

/// Writes of its service that a probe runs and rolls back, beside its small committed write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rehearsal {
    /// None: the service writes little.
    #[default]
    None,
    /// The writes of issuing: `coupon_issues` and `coupons`.
    Issues,
    /// These, and the writes of a compensation: `failed_coupon_issues` and `dlq_events`.
    Decisions,
}

/// The last probe of a refusal: time of its begin, and whether it committed.
#[derive(Default)]
pub(super) struct LastProbe(Mutex<Option<(Instant, bool)>>);

/// A decision of no campaign, and its batch: no coupon has the id 0. Two probes at once never conflict in an index.
const INSERT_ISSUE: &str = "
WITH numbered AS (
    INSERT INTO coupon_decision_batches (coupon_id, first_no, decision, epoch, request_ids, decided_at)
    VALUES (0, -1 - floor(random() * 9e15)::bigint, 'ISSUED', 0, ARRAY[gen_random_uuid()], now())
)
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT 0, probe.id, 'probe-' || probe.id, 'ISSUED', 0, 0, now(), now() FROM gen_random_uuid() AS probe (id)";

/// The number is given and negative: a number of the sequence would be spent although the row is rolled back, and
/// operators read the numbers.
const INSERT_FAILED: &str = "
INSERT INTO failed_coupon_issues (id, coupon_code, member_id, request_id, status, error_class, error_code, reason)
OVERRIDING SYSTEM VALUE
VALUES (-1 - floor(random() * 9e15)::bigint, 'probe', 'probe', gen_random_uuid(), 'PENDING', 'UNKNOWN', 'PROBE',
        'a probe, taken back at once')";

const INSERT_DLQ_EVENT: &str = "
INSERT INTO dlq_events (id, dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type, headers, error_class,
                        error_code, cause, error_message, stack_trace, attempts, status, alarm_sent)
OVERRIDING SYSTEM VALUE
SELECT -1 - floor(random() * 9e15)::bigint, 'probe-' || gen_random_uuid(), 0, 0, 0, 'UNKNOWN', '[]', 'UNKNOWN', 'PROBE', 'PROBE', 'a probe, taken back at once', '',
       0, 'RECOVERED', true";

impl Database {
    /// The same database, whose probes rehearse the writes of the service.
    #[must_use]
    pub fn rehearsing(self, rehearsal: Rehearsal) -> Self {
        Self(self.0, rehearsal)
    }

    /// Commits a write of the service's kind through a new connection. An outage is over when this succeeds, not when a
    /// port answers: an earlier connection may lead to a server, or hold a session, that never writes again.
    pub async fn probe(&self) -> Result<(), RepoError> {
        self.renew();
        self.try_writing("commit a probe").await
    }

    /// Commits a write of the service's kind through the connections of the pool.
    pub async fn commits(&self) -> Result<(), RepoError> {
        self.try_writing("try a commit").await
    }

    async fn try_writing(&self, doing: &'static str) -> Result<(), RepoError> {
        let rehearsal = self.1;
        self.at_once(doing, move |pool| async move {
            if rehearsal != Rehearsal::None {
                coupon_issues::rehearse(&pool).await?;
                rehearse(&pool, INSERT_ISSUE).await?;
            }
            if rehearsal == Rehearsal::Decisions {
                rehearse(&pool, INSERT_FAILED).await?;
                rehearse(&pool, INSERT_DLQ_EVENT).await?;
            }
            let written = sqlx::query(
                "INSERT INTO write_probe (probed_at) VALUES (now())
                 ON CONFLICT (only_row) DO UPDATE SET probed_at = excluded.probed_at",
            );
            written.execute(&pool).await.map(drop)
        })
        .await
    }

    /// Returns a refusal as it is if a probe that began after it commits, else as an outage.
    pub(super) async fn confirmed(&self, refusal: RepoError) -> RepoError {
        if !refusal.may_be_an_outage() {
            return refusal;
        }
        let refused_at = Instant::now();
        // All who wait here were refused before the next probe begins, so one probe answers for all of them.
        let mut last = self.0.last_probe.0.lock().await;
        let commits = match *last {
            Some((begun, commits)) if begun > refused_at => commits,
            _ => {
                let begun = Instant::now();
                let commits = self.commits().await.is_ok();
                *last = Some((begun, commits));
                commits
            }
        };
        if commits { refusal } else { RepoError::Away(Box::new(refusal)) }
    }
}

/// Inserts a row, runs the deferred checks, and rolls back. A row that is refused for its values is no outage: an
/// installation may have constraints of its own, or partitions.
async fn rehearse(pool: &Pool, insert: &'static str) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    let inserted = async {
        sqlx::query::<Postgres>(insert).execute(&mut *tx).await?;
        sqlx::query("SET CONSTRAINTS ALL IMMEDIATE").execute(&mut *tx).await
    };
    match inserted.await {
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| is_of_the_row(&code)) => {}
        other => {
            other?;
        }
    }
    tx.rollback().await
}

/// Whether an SQLSTATE is about the row: a constraint, or the exception of a trigger. Not NOT NULL: the probe's row
/// violates it only by a column that the service does not know.
fn is_of_the_row(sqlstate: &str) -> bool {
    (sqlstate.starts_with("23") && sqlstate != "23502") || sqlstate.starts_with("P0")
}
