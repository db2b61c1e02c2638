//! The announcer: tells somebody of every dead letter. For now that is the log, at error, as `[CRITICAL]`.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;
use coupon_core::{
    clock::Clock,
    repo::{Database, alarms::Announcement, dead_letters::LetterStatus},
    runtime::{Shutdown, chain},
};
use tokio::sync::Notify;

/// How often letters are looked for that nobody has been told of, when nothing wakes the announcer earlier.
const SWEEP: Duration = Duration::from_secs(1);
/// A cause is announced at most this often (DESIGN, I10).
const QUIET: TimeDelta = TimeDelta::minutes(1);
/// Letters told of in one go.
const BATCH: i64 = 5000;

/// Tells of dead letters.
pub struct Announcer {
    /// The letters.
    pub database: Database,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Woken when a letter was put down.
    pub silent: Arc<Notify>,
}

impl Announcer {
    /// Announces until the shutdown begins. What it could not tell of stays untold in the database.
    pub async fn run(self, shutdown: Shutdown) {
        loop {
            match self.database.announce(BATCH, self.clock.now(), QUIET, tell).await {
                Ok(told) => metrics::counter!("coupon_dead_letters_announced_total").increment(told as u64),
                Err(error) => tracing::warn!("dead letters cannot be announced now: {}", chain(&error)),
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = self.silent.notified() => {}
                () = tokio::time::sleep(SWEEP) => {}
            }
        }
    }
}

/// The `[CRITICAL]` line. Names the numbers to look up, never the member.
fn tell(announcement: &Announcement) {
    let Announcement { status, coupon_code, cause, count, letter_id, failed_issue_id, request_id, error_message } =
        announcement;
    let coupon = coupon_code.as_deref().unwrap_or("-");
    let request_id = request_id.map(|id| id.to_string()).unwrap_or_default();
    match status {
        LetterStatus::Compensated => tracing::error!(
            request_id,
            coupon,
            letter_id,
            failed_issue_id,
            cause,
            "[CRITICAL] request given up, its unit goes back: look with `dlq-consumer show {}`: {error_message}",
            failed_issue_id.unwrap_or_default()
        ),
        status => tracing::error!(
            coupon, letter_id, count, cause, %status,
            "[CRITICAL] {count} dead letters {} undecided: look with `dlq-consumer list --dead-letters --status {status}`: {error_message}",
            if *status == LetterStatus::Held { "held" } else { "parked" }
        ),
    }
}
