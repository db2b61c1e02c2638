//! A Redis that lost data: said aloud once a minute, and noted in PostgreSQL in the background.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coupon_core::{
    clock::Clock,
    ids::CouponCode,
    repo::{
        Database,
        alarms::Notice,
        coupons::{Actor, CouponStatus},
    },
    runtime::chain,
    stock::Stock,
};
use tokio::time::Instant;

/// Refusals of a suspect coupon come by the thousand; one look in this time is enough.
const PAUSE: Duration = Duration::from_secs(5);

/// The same is said at most this often (DESIGN, I10).
const QUIET: Duration = Duration::from_mins(1);

/// Notes suspect coupons, each epoch once.
#[derive(Clone)]
pub struct Suspects {
    stock: Stock,
    database: Database,
    clock: Arc<dyn Clock>,
    installation: Option<Arc<str>>,
    seen: Arc<Mutex<HashMap<CouponCode, Seen>>>,
}

struct Seen {
    looked: Instant,
    said: Option<(Option<i64>, Instant)>,
    noted: Option<i64>,
}

impl Suspects {
    /// Over the process's connections.
    pub fn new(stock: Stock, database: Database, clock: Arc<dyn Clock>) -> Self {
        Self { stock, database, clock, installation: None, seen: Arc::default() }
    }

    /// The same with the name of the installation in its `[CRITICAL]` lines; empty: none.
    #[must_use]
    pub fn of_installation(self, name: &str) -> Self {
        Self { installation: (!name.is_empty()).then(|| name.into()), ..self }
    }

    /// Redis called a coupon suspect, or has lost the data of an open one. Returns at once.
    pub fn report(&self, code: &CouponCode) {
        if self.is_turn(code) {
            let (this, code) = (self.clone(), code.clone());
            tokio::spawn(async move { this.look(&code).await });
        }
    }

    fn is_turn(&self, code: &CouponCode) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match seen.get_mut(code) {
            Some(seen) if now.duration_since(seen.looked) < PAUSE => false,
            Some(seen) => {
                seen.looked = now;
                true
            }
            None => {
                seen.insert(code.clone(), Seen { looked: now, said: None, noted: None });
                true
            }
        }
    }

    async fn look(&self, code: &CouponCode) {
        // Redis is away again: the next refusal comes back here.
        let Ok(view) = self.stock.view(code).await else { return };
        let Some(view) = view else {
            if self.may_be_said(code, None) {
                tracing::error!(
                    coupon = %code,
                    installation = self.installation.as_deref(),
                    "[CRITICAL] redis has lost the data of {code}; it accepts nothing until `dlq-consumer rebuild {code} --by NAME`"
                );
                // PostgreSQL has nothing else by which dlq-consumer could tell it further.
                if let Err(error) = self.database.alarms().notify(Notice::lost(code, self.clock.now())).await {
                    tracing::warn!(coupon = %code, error = %chain(&error), "the loss is not noted in postgresql yet");
                }
            }
            return self.note_loss(code).await;
        };
        // Also when a rebuild shut it: nobody suspects that data.
        if view.gate() != CouponStatus::Suspect.as_str() {
            return;
        }
        let epoch = view.epoch;
        if self.may_be_said(code, Some(epoch)) {
            tracing::error!(
                coupon = %code,
                epoch,
                installation = self.installation.as_deref(),
                "[CRITICAL] redis has gone back in time for {code}; it accepts nothing until `dlq-consumer rebuild {code} --by NAME`"
            );
        }
        let epoch = self.row_ahead_of(code, epoch).await.unwrap_or(epoch);
        self.note_suspicion(code, epoch).await;
    }

    /// The epoch of an open campaign's row, if Redis has fallen back to before an earlier rebuild.
    async fn row_ahead_of(&self, code: &CouponCode, epoch: i64) -> Option<i64> {
        let coupon = self.database.coupons().find(code).await.ok()??;
        if coupon.status != CouponStatus::Open || coupon.epoch <= epoch {
            return None;
        }
        // A rebuild fills Redis before it opens the row, so what is older after the row was read has fallen back.
        let view = self.stock.view(code).await.ok()??;
        (view.epoch < coupon.epoch).then_some(coupon.epoch)
    }

    /// Redis has nothing of an open campaign: of whatever epoch the row is, that data is gone.
    async fn note_loss(&self, code: &CouponCode) {
        match self.database.coupons().find(code).await {
            Ok(Some(coupon)) if coupon.status == CouponStatus::Open => self.note_suspicion(code, coupon.epoch).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(coupon = %code, error = %chain(&error), "the loss is not noted in postgresql yet");
            }
        }
    }

    async fn note_suspicion(&self, code: &CouponCode, epoch: i64) {
        if self.is_noted(code, epoch) {
            return;
        }
        let actor = Actor { name: crate::SERVICE.to_owned(), now: self.clock.now() };
        let noted = self.database.coupons().set_status(
            code.clone(),
            epoch,
            &[CouponStatus::Open],
            CouponStatus::Suspect,
            actor,
        );
        match noted.await {
            // Also when there was nothing to change: the row is SUSPECT or CLOSED already, or of another epoch.
            Ok(_) => self.note(code, epoch),
            Err(error) => {
                tracing::warn!(coupon = %code, error = %chain(&error), "the suspicion is not noted in postgresql yet");
            }
        }
    }

    /// Whether this (the epoch that is suspect, or `None` for data that is gone) was not said within a minute; it is now.
    fn may_be_said(&self, code: &CouponCode, what: Option<i64>) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen.get_mut(code) else { return false };
        let is_news = seen.said.is_none_or(|(said, at)| said != what || at.elapsed() >= QUIET);
        if is_news {
            seen.said = Some((what, Instant::now()));
        }
        is_news
    }

    fn note(&self, code: &CouponCode, epoch: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.get_mut(code) {
            seen.noted = Some(epoch);
        }
    }

    fn is_noted(&self, code: &CouponCode, epoch: i64) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(code).is_some_and(|seen| seen.noted == Some(epoch))
    }
}
