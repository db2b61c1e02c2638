//! Reports data that Redis has lost: in the log once a minute, and in PostgreSQL in the background.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use coupon_core::{
    clock::Clock,
    ids::CouponCode,
    repo::{
        Database, RepoError,
        alarms::Notice,
        audit::{Actor, Identity},
        coupons::{Coupon, CouponStatus},
    },
    runtime::{Throttle, chain},
    stock::Stock,
};
use tokio::time::Instant;

/// Least time between two checks of a coupon: refusals of a suspect coupon come by the thousand.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Reports suspect coupons and lost data.
#[derive(Clone)]
pub struct DataLossReporter {
    stock: Stock,
    database: Database,
    clock: Arc<dyn Clock>,
    installation: Option<Arc<str>>,
    /// When each coupon was checked last.
    checked: Arc<Mutex<HashMap<CouponCode, Instant>>>,
}

impl DataLossReporter {
    /// A reporter over the process's connections, with the name of the installation in its `[CRITICAL]` lines; empty: none.
    pub fn new(stock: Stock, database: Database, clock: Arc<dyn Clock>, installation: &str) -> Self {
        let installation = (!installation.is_empty()).then(|| installation.into());
        Self { stock, database, clock, installation, checked: Arc::default() }
    }

    /// Redis called a coupon suspect, or has no data of an open one. Returns at once; the check runs in the background.
    pub fn report(&self, code: &CouponCode) {
        let now = Instant::now();
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.get(code).is_some_and(|at| now.duration_since(*at) < CHECK_INTERVAL) {
            return;
        }
        checked.insert(code.clone(), now);
        let (this, code) = (self.clone(), code.clone());
        tokio::spawn(async move {
            if let Err(error) = this.check(&code).await {
                tracing::warn!(coupon = %code, error = %chain(&error), "the loss is not noted in postgresql yet");
            }
        });
    }

    /// Logs the loss, and makes the row of an open campaign SUSPECT.
    async fn check(&self, code: &CouponCode) -> Result<(), RepoError> {
        // Redis is away again: the next refusal comes back here.
        let Ok(view) = self.stock.view(code).await else { return Ok(()) };
        let installation = self.installation.as_deref();
        let found = view.as_ref().map(|view| view.epoch);
        match found {
            // A gate that a rebuild closed is not suspect.
            Some(_) if view.as_ref().is_some_and(|view| view.gate() != CouponStatus::Suspect.as_str()) => return Ok(()),
            Some(epoch) if is_due(code, epoch) => tracing::error!(
                coupon = %code,
                epoch,
                installation,
                "[CRITICAL] redis has gone back in time for {code}; it accepts nothing until `dlq-consumer rebuild {code} --by NAME`"
            ),
            None if is_due(code, "lost") => {
                tracing::error!(
                    coupon = %code,
                    installation,
                    "[CRITICAL] redis has lost the data of {code}; it accepts nothing until `dlq-consumer rebuild {code} --by NAME`"
                );
                // PostgreSQL has nothing else by which dlq-consumer could send an alarm.
                self.database.alarms().notify(Notice::lost(code, self.clock.now())).await?;
            }
            _ => {}
        }
        let row = self.database.coupons().find(code).await?.filter(|row| row.status == CouponStatus::Open);
        // A row that is SUSPECT or CLOSED already stays as it is.
        let Some(row) = row else { return Ok(()) };
        let epoch = match found {
            Some(epoch) if epoch >= row.epoch || !self.is_behind(&row).await => epoch,
            // Redis has nothing of the row's epoch any more.
            _ => row.epoch,
        };
        let actor = Actor::at(&Identity::service(crate::SERVICE), self.clock.as_ref());
        let from = &[CouponStatus::Open];
        self.database.coupons().set_status(code.clone(), epoch, from, CouponStatus::Suspect, actor).await.map(drop)
    }

    /// Whether Redis has fallen back to before the epoch of a row that was read before: a rebuild fills Redis first and opens
    /// the row then.
    async fn is_behind(&self, row: &Coupon) -> bool {
        self.stock.view(&row.coupon_code).await.is_ok_and(|view| view.is_some_and(|view| view.epoch < row.epoch))
    }
}

/// Whether a line about this loss of a coupon is due: the same loss is logged once a minute.
fn is_due(code: &CouponCode, what: impl std::fmt::Display) -> bool {
    static LOGGED: Throttle = Throttle::new();
    LOGGED.admit(&format!("{code} {what}")).is_some()
}
