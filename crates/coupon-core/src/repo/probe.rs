//! Whether PostgreSQL takes writes: what is judged is what works, not how an error is called.
//!
//! An SQLSTATE tells poorly whether a row is refused or the database is away: a right that was taken, a sequence that has
//! run out and a table that was renamed all look like the fault of whoever asked, and a table that is locked looks like one
//! member of whom somebody is in the way. So a refusal that may lie in a row, and contention, are believed only once a probe
//! has done the same kind of write. A lock on one campaign does not reach the probe, which writes of none.

use sqlx::Postgres;
use tokio::{sync::Mutex, time::Instant};

use super::{Database, RepoError, coupon_issues, pool::Pool};

/// What a probe does beside its small committed write, and takes back: the work of the service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rehearsal {
    /// Nothing: the service writes little.
    #[default]
    None,
    /// What issuing needs of `coupon_issues` and `coupons`.
    Issues,
    /// That, and what giving up needs of `failed_coupon_issues` and `dlq_events`.
    Decisions,
}

/// The last probe that was asked because of a refusal: when it began, and whether it committed.
#[derive(Default)]
pub(super) struct Doubts(Mutex<Option<(Instant, bool)>>);

/// A decision that no campaign has: its number is none of `coupons`. Two probes at once never meet in an index.
const INSERT_ISSUE: &str = "
INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
SELECT 0, probe.id, 'probe-' || probe.id, 'ISSUED', 0, 0, now(), now() FROM gen_random_uuid() AS probe (id)";

/// The number is given, and none that an entry has: a number that a sequence gives is spent also when its row is taken
/// back, and operators read the numbers.
const INSERT_FAILED: &str = "
INSERT INTO failed_coupon_issues (id, coupon_code, member_id, request_id, status, error_class, error_code, reason)
OVERRIDING SYSTEM VALUE
VALUES (-1 - floor(random() * 9e15)::bigint, 'probe', 'probe', gen_random_uuid(), 'PENDING', 'UNKNOWN', 'PROBE',
        'a probe, taken back at once')";

const INSERT_LETTER: &str = "
INSERT INTO dlq_events (id, dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type, headers, error_class,
                        error_code, cause, error_message, stack_trace, attempts, status, alarm_sent)
OVERRIDING SYSTEM VALUE
SELECT -1 - floor(random() * 9e15)::bigint, 'probe-' || gen_random_uuid(), 0, 0, 0, 'UNKNOWN', '[]', 'UNKNOWN', 'PROBE', 'PROBE', 'a probe, taken back at once', '',
       0, 'RECOVERED', true";

impl Database {
    /// The same database; a probe does what this service does.
    #[must_use]
    pub fn rehearsing(self, rehearsal: Rehearsal) -> Self {
        Self(self.0, rehearsal)
    }

    /// Whether a write of this service's kind commits now, through a new connection. An outage is over when this succeeds,
    /// not when a port answers: a connection of before may lead to a server, or hold a session, that never writes again.
    pub async fn probe(&self) -> Result<(), RepoError> {
        self.renew();
        self.try_writing("commit a probe").await
    }

    /// The same through the connections there are.
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
                rehearse(&pool, INSERT_LETTER).await?;
            }
            let written = sqlx::query(
                "INSERT INTO write_probe (probed_at) VALUES (now())
                 ON CONFLICT (only_row) DO UPDATE SET probed_at = excluded.probed_at",
            );
            written.execute(&pool).await.map(drop)
        })
        .await
    }

    /// What a refusal is: the one it was, when a probe that began after it commits, else an outage.
    pub(super) async fn judged(&self, refusal: RepoError) -> RepoError {
        if !refusal.may_be_an_outage() {
            return refusal;
        }
        let refused_at = Instant::now();
        // Whoever waits here was refused before the next probe begins, so one probe answers for all who wait.
        let mut last = self.0.doubts.0.lock().await;
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

/// Inserts a row and takes it back, with whatever is checked at the end of a transaction. A row that is refused for what
/// it says is no outage: somebody may have constraints of their own, or partitions.
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

/// Whether an SQLSTATE speaks of the row: a constraint but for NOT NULL, which the probe's row fails only by a column
/// that the service does not know, and what a trigger raises by itself.
fn is_of_the_row(sqlstate: &str) -> bool {
    (sqlstate.starts_with("23") && sqlstate != "23502") || sqlstate.starts_with("P0")
}
