//! The draining of a rebuild: every reservation of the old data is published, and decided, held or parked.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{RebuildProgress, Rebuilding};
use crate::{
    OperationsError,
    barrier::CatchUp,
    reconcile::{Comparison, Drift, ReconcileOptions},
};

/// Time between two readings of the outbox's length.
const OUTBOX_POLL_PERIOD: Duration = Duration::from_millis(200);
/// Times that lost requests are requeued before an operator has to look.
const MAX_REQUEUE_ROUNDS: u32 = 3;

impl Rebuilding<'_> {
    /// Waits until every reservation is decided, held or parked. A request of which only Redis still knows is requeued
    /// first, because its holder entry is about to be replaced: Kafka has lost its event, or a restored PostgreSQL its row.
    pub(super) async fn settle_holder_entries(&self) -> Result<(), OperationsError> {
        let code = self.code;
        // No relay can publish them, and they are no requests.
        for entry in self.stock.unreadable(code).await? {
            tracing::warn!(coupon = %code, "an outbox entry of {code} names no request and is deleted");
            self.stock.delete_entry(code, &entry).await?;
        }
        // Before anything is requeued: a counter that is too high would have it compensated.
        self.count_rows().await?;
        let mut rounds = 0;
        loop {
            self.drain().await?;
            let orphans = self.requeue_orphans().await?;
            if orphans == 0 {
                break;
            }
            rounds += 1;
            if rounds == MAX_REQUEUE_ROUNDS {
                return Err(OperationsError::Orphans { code: code.clone(), orphans });
            }
            (self.progress)(RebuildProgress::Requeued(orphans));
        }
        self.must_be_decided().await
    }

    /// Waits until the outbox is empty and the consumers have caught up.
    async fn drain(&self) -> Result<(), OperationsError> {
        let deadline = Instant::now() + self.options.wait;
        loop {
            let waiting = self.stock.outbox_len(self.code).await?;
            (self.progress)(RebuildProgress::Outbox(waiting));
            if waiting == 0 {
                break;
            }
            if Instant::now() >= deadline {
                return Err(OperationsError::Outbox { code: self.code.clone(), waiting });
            }
            sleep(OUTBOX_POLL_PERIOD).await;
        }
        (self.progress)(RebuildProgress::Consumers);
        self.wait_for_consumers().await
    }

    /// Sets `issued_quantity` to the number of ISSUED rows.
    pub(super) async fn count_rows(&self) -> Result<(), OperationsError> {
        let (code, reconciliations) = (self.code, self.database.reconciliations());
        let Some(count) = reconciliations.count_rows(code).await? else { return Ok(()) };
        if count.counter == count.rows || reconciliations.correct_counter(code.clone(), count).await? {
            return Ok(());
        }
        Err(OperationsError::Oversold { code: code.clone(), rows: count.rows, total: count.total })
    }

    /// Requeues every request that has a holder entry and nothing else. Returns the number of such requests.
    async fn requeue_orphans(&self) -> Result<u64, OperationsError> {
        let coupon = self.coupon().await?.ok_or_else(|| OperationsError::Unknown(self.code.clone()))?;
        // Holder entries of another epoch are of data that an earlier rebuild has replaced.
        if self.stock.view(self.code).await?.is_none_or(|view| view.epoch != coupon.epoch) {
            return Ok(0);
        }
        let options = ReconcileOptions { apply: true, requeue: true, wait: self.options.wait };
        let mut comparison = Comparison::new(self.operations, &coupon, options, &|_, _| {});
        comparison.scan_holder_entries().await?;
        match comparison.report.waiting_for {
            Some(lag) => Err(OperationsError::Lag(lag)),
            None => Ok(comparison.report.drift.get(&Drift::Orphan).map_or(0, |orphans| orphans.found)),
        }
    }

    pub(super) async fn wait_for_consumers(&self) -> Result<(), OperationsError> {
        match self.operations.wait_for_consumers(self.options.wait).await? {
            CatchUp::Done => Ok(()),
            lagging @ CatchUp::Lagging { .. } => Err(OperationsError::Lag(lagging.to_string())),
        }
    }
}
