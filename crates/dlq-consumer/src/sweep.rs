//! The sweeper: puts Redis right for every decision that took something away. One path, whatever crashed.

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

/// Give-backs done in one go.
const BATCH: i64 = 200;
/// How often campaigns are looked for whose data in Redis is not to be trusted.
const SUSPECTS: Duration = Duration::from_secs(1);

/// Says that the data of a campaign is broken, once a minute for each campaign and code: each look meets it again.
fn say_broken(code: &CouponCode, failure: &Failure) {
    static BROKEN: Throttle = Throttle::new();
    if let Some(looks) = BROKEN.admit(&format!("{code} {}", failure.code)) {
        tracing::error!(
            coupon = %code,
            code = failure.code,
            looks,
            "units of {code} cannot be given back, {looks} looks since this was last said: {failure}"
        );
    }
}

/// Gives back what is due.
pub struct Sweeper {
    /// Decisions.
    pub database: Database,
    /// Marks.
    pub stock: Stock,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Woken when something has become due.
    pub due: Arc<Notify>,
    /// How often to look without being woken.
    pub interval: Duration,
}

impl Sweeper {
    /// Sweeps until the shutdown begins. Redis or PostgreSQL being away only delays it; nothing waits for it.
    pub async fn run(self, shutdown: Shutdown) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(4));
        let mut suspects_at = Instant::now();
        let mut told = false;
        loop {
            let mut swept = self.give_back().await;
            if swept.is_ok() && Instant::now() >= suspects_at {
                suspects_at = Instant::now() + SUSPECTS;
                swept = self.close_suspects().await.map(|()| false);
            }
            let wait = match swept {
                Ok(more) => {
                    backoff.reset();
                    told = false;
                    if more { Duration::ZERO } else { self.interval }
                }
                Err(failure) => {
                    metrics::counter!("coupon_sweeps_failed_total").increment(1);
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(class = %failure.class, code = failure.code, "units cannot be given back now: {failure}");
                    }
                    backoff.next_wait()
                }
            };
            // After a failure a wake-up does not cut the wait short: a flood of dead letters must not become a flood
            // of calls to a server that is away.
            let woken = async { if told { std::future::pending().await } else { self.due.notified().await } };
            tokio::select! {
                () = shutdown.stopping() => return,
                () = woken => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// `true` when there may be more to do at once.
    async fn give_back(&self) -> Result<bool, Failure> {
        // Coupons whose data is broken: they must not keep the others from theirs.
        let mut broken = Vec::new();
        loop {
            let due = self
                .database
                .coupon_issues()
                .due_give_backs(BATCH, &broken)
                .await
                .map_err(|error| Failure::from(&error))?;
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
                        say_broken(&code, &failure);
                        broken.push(code);
                    }
                }
            }
            let is_full = found == usize::try_from(BATCH).unwrap_or(usize::MAX);
            if !is_full || broken.len() == before {
                return Ok(is_full);
            }
        }
    }

    async fn give_one_back(&self, due: DueGiveBack) -> Result<(), Failure> {
        let (code, request_id, successor) = (due.coupon_code.clone(), due.request_id, due.superseded_by());
        let given_back = self
            .stock
            .give_back(&code, &due.member_id, request_id, successor)
            .await
            .map_err(|error| Failure::from(&error))?;
        self.database
            .coupon_issues()
            .note_given_back(due, self.clock.now())
            .await
            .map_err(|error| Failure::from(&error))?;
        match (given_back, successor) {
            (GiveBack::Done, None) => tracing::info!(%request_id, coupon = %code, "unit given back"),
            (GiveBack::Done, Some(holder)) => {
                tracing::info!(%request_id, %holder, coupon = %code, "mark handed over, nothing freed");
            }
            (GiveBack::NotItsMark, _) => {
                tracing::info!(%request_id, coupon = %code, "no mark of this request; nothing to give back");
            }
        }
        Ok(())
    }

    async fn close_suspects(&self) -> Result<(), Failure> {
        for (code, epoch) in self.database.coupons().suspects().await.map_err(|error| Failure::from(&error))? {
            let view = self.stock.view(&code).await.map_err(|error| Failure::from(&error))?;
            let is_shut = |status: &str| status == CouponStatus::Suspect.as_str();
            let Some(view) = view.filter(|view| !is_shut(&view.status) && !view.is_filling()) else { continue };
            // A rebuild that ends changes the row before it opens the gate: one that is open while its row is still SUSPECT,
            // of whatever epoch its data is, sells what is not to be trusted.
            let row = self.database.coupons().find(&code).await.map_err(|error| Failure::from(&error))?;
            if row.is_some_and(|row| row.status == CouponStatus::Suspect && row.epoch == epoch) {
                let outcome = self.stock.suspect(&code, view.epoch).await.map_err(|error| Failure::from(&error))?;
                tracing::warn!(coupon = %code, epoch = view.epoch, ?outcome, "{code} is SUSPECT, and its gate is closed now");
            }
        }
        Ok(())
    }
}
