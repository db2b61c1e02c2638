//! The give-back worker: removes the holder entry in Redis of every request that was compensated, and closes the gate of
//! campaigns that are SUSPECT. It reads from PostgreSQL what is due, so that a crash anywhere only delays it.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    clock::Clock,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::{Database, coupon_issues::DueGiveBack, coupons::CouponStatus},
    retry::Backoff,
    runtime::{Shutdown, Throttle},
    stock::{GiveBack, Stock},
};
use tokio::{sync::Notify, time::Instant};

/// Due give-backs read by one statement.
const BATCH_GIVE_BACKS: i64 = 200;
/// Time between two passes that close the gates of SUSPECT campaigns.
const SUSPECTS_PERIOD: Duration = Duration::from_secs(1);
/// Wait after the first of several failures.
const FIRST_FAILURE_WAIT: Duration = Duration::from_millis(500);
/// Longest wait between failures: 0.5 s, 1 s, 2 s, 4 s, 4 s, …
const MAX_FAILURE_WAIT: Duration = Duration::from_secs(4);

/// Logs that the data of a campaign is broken, once a minute for each campaign and error code: each pass meets the failure again.
fn log_broken(code: &CouponCode, failure: &Failure) {
    static BROKEN: Throttle = Throttle::new();
    if let Some(passes) = BROKEN.admit(&format!("{code} {}", failure.code)) {
        tracing::error!(
            coupon = %code,
            code = failure.code,
            passes,
            "units of {code} cannot be given back, {passes} passes since the last such line: {failure}"
        );
    }
}

/// Gives back the coupons of compensated requests.
pub struct GiveBackWorker {
    /// Knows which give-backs are due.
    pub database: Database,
    /// Has the holder entries and the gates.
    pub stock: Stock,
    /// Gives the time that a give-back is noted with.
    pub clock: Arc<dyn Clock>,
    /// Begins a pass early, after a decision.
    pub wakeup: Arc<Notify>,
    /// Time between two passes, when nothing wakes the worker.
    pub interval: Duration,
}

impl GiveBackWorker {
    /// Gives back until the shutdown begins. While Redis or PostgreSQL is away, give-backs are delayed, and nothing else.
    pub async fn run(self, shutdown: Shutdown) {
        let mut backoff = Backoff::new(FIRST_FAILURE_WAIT, MAX_FAILURE_WAIT);
        let mut suspects_at = Instant::now();
        let mut failed = false;
        loop {
            let mut given_back = self.give_back().await;
            if given_back.is_ok() && Instant::now() >= suspects_at {
                suspects_at = Instant::now() + SUSPECTS_PERIOD;
                given_back = self.close_suspects().await.map(|()| false);
            }
            let wait = match given_back {
                Ok(more) => {
                    backoff.reset();
                    failed = false;
                    if more { Duration::ZERO } else { self.interval }
                }
                Err(failure) => {
                    metrics::counter!("coupon_sweeps_failed_total").increment(1);
                    if !std::mem::replace(&mut failed, true) {
                        tracing::warn!(class = %failure.class, code = failure.code, "units cannot be given back now: {failure}");
                    }
                    backoff.next_wait()
                }
            };
            // After a failure a wake-up does not cut the wait short: a flood of dead letters must not become a flood
            // of calls to a server that is away.
            let woken = async { if failed { std::future::pending().await } else { self.wakeup.notified().await } };
            tokio::select! {
                () = shutdown.stopping() => return,
                () = woken => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Gives back what is due. Returns `true` when the statement was full, so that more may be due at once.
    async fn give_back(&self) -> Result<bool, Failure> {
        // Campaigns whose data is broken are left out, so that they do not delay the give-backs of the others.
        let mut broken = Vec::new();
        loop {
            let due = self.database.coupon_issues().due_give_backs(BATCH_GIVE_BACKS, &broken).await?;
            metrics::gauge!("coupon_give_backs_due").set(u32::try_from(due.len()).unwrap_or(u32::MAX));
            let (found, before) = (due.len(), broken.len());
            for due in due {
                let code = due.coupon_code.clone();
                if broken.contains(&code) {
                    continue;
                }
                match self.give_one_back(due).await {
                    Ok(()) => {}
                    Err(failure) if failure.class == Class::Unavailable => return Err(failure),
                    Err(failure) => {
                        log_broken(&code, &failure);
                        broken.push(code);
                    }
                }
            }
            let is_full = found == usize::try_from(BATCH_GIVE_BACKS).unwrap_or(usize::MAX);
            if !is_full || broken.len() == before {
                return Ok(is_full);
            }
        }
    }

    async fn give_one_back(&self, due: DueGiveBack) -> Result<(), Failure> {
        let (code, request_id, successor) = (due.coupon_code.clone(), due.request_id, due.superseded_by());
        let given_back = self.stock.give_back(&code, &due.member_id, request_id, successor).await?;
        self.database.coupon_issues().note_given_back(due, self.clock.now()).await?;
        match (given_back, successor) {
            (GiveBack::Done, None) => tracing::info!(%request_id, coupon = %code, "unit given back"),
            (GiveBack::Done, Some(holder)) => {
                tracing::info!(%request_id, %holder, coupon = %code, "holder entry handed over, nothing freed");
            }
            (GiveBack::NotHeld, _) => {
                tracing::info!(%request_id, coupon = %code, "no holder entry of this request; nothing to give back");
            }
        }
        Ok(())
    }

    /// Closes the gates that are open in Redis although their campaign is SUSPECT.
    async fn close_suspects(&self) -> Result<(), Failure> {
        for (code, epoch) in self.database.coupons().suspects().await? {
            let view = self.stock.view(&code).await?;
            let is_shut = |status: &str| status == CouponStatus::Suspect.as_str();
            let Some(view) = view.filter(|view| !is_shut(&view.status) && !view.is_filling()) else { continue };
            // A rebuild that ends changes the row before it opens the gate: one that is open while its row is still SUSPECT,
            // of whatever epoch its data is, sells what is not to be trusted.
            let row = self.database.coupons().find(&code).await?;
            if row.is_some_and(|row| row.status == CouponStatus::Suspect && row.epoch == epoch) {
                let outcome = self.stock.suspect(&code, view.epoch).await?;
                tracing::warn!(coupon = %code, epoch = view.epoch, ?outcome, "{code} is SUSPECT, and its gate is closed now");
            }
        }
        Ok(())
    }
}
