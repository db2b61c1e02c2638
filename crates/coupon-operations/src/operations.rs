//! What every operation works with: the servers, the clock, the locks, and the name that the audit gets.

use std::sync::Arc;

use coupon_core::{
    clock::Clock,
    event::{CouponIssued, VERSION},
    ids::CouponCode,
    kafka::ConsumerProgress,
    repo::{
        Database, RepoError,
        audit::{Actor, Identity},
        coupons::Coupon,
        dlq_events::UndecidedDlqEvent,
    },
    signing::{self, EventReader, ReadError},
    stock::{Stock, View},
    writing::Writer,
};

use crate::{campaigns::Campaigns, members::ErasureSettings};

/// Access to the servers in the name of one operator, or of the service.
#[derive(Clone)]
pub struct Operations {
    /// Decisions, the work list, the dead letters.
    pub database: Database,
    /// Holder entries and outbox entries in Redis.
    pub stock: Stock,
    /// Writes the events of held dead letters.
    pub writer: Writer,
    /// Reads and verifies the events of dead letters.
    pub events: EventReader,
    /// The progress of issue-consumer in `coupon-issued`.
    pub main: ConsumerProgress,
    /// The progress of dlq-consumer in the dead letter topic.
    pub dead_letters: ConsumerProgress,
    /// The key of pseudonyms of members who are erased.
    pub erasure: ErasureSettings,
    /// The source of the time that rows get.
    pub clock: Arc<dyn Clock>,
    /// The operator or the service, for the audit.
    pub by: Identity,
}

impl Operations {
    /// Returns the same operations in the name of somebody else.
    #[must_use]
    pub fn in_the_name_of(&self, by: Identity) -> Self {
        Self { by, ..self.clone() }
    }

    /// Returns the operations on campaigns, in the same name.
    pub fn campaigns(&self) -> Campaigns {
        let Self { database, stock, clock, by, .. } = self.clone();
        Campaigns { database, stock, clock, by }
    }

    /// Returns the operator with the time of now, for the audit.
    pub fn me(&self) -> Actor {
        Actor::at(&self.by, self.clock.as_ref())
    }

    /// Reads the event of a dead letter. The bytes of a row are believed no more than those of a record: one that is not
    /// signed by us, or was refused for that where this process has no keys, can be neither replayed nor compensated.
    pub(crate) fn event_of(&self, dead_letter: &UndecidedDlqEvent) -> Result<CouponIssued, ReadError> {
        read_dead_letter(&self.events, dead_letter, VERSION)
    }

    /// Does `work` under the lock of a campaign's data, which a reconciliation, a rebuild and an archive take: one of these
    /// at a time. Returns `None` when another process has the lock.
    pub(crate) async fn with_data_lock<T>(
        &self,
        code: &CouponCode,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, RepoError> {
        self.with_lock(&format!("campaign data {code}"), work).await
    }

    /// Does `work` under the lock of this name. Returns `None` when another process has the lock.
    pub(crate) async fn with_lock<T>(&self, name: &str, work: impl Future<Output = T>) -> Result<Option<T>, RepoError> {
        let Some(lock) = self.database.try_lock(name).await? else { return Ok(None) };
        let done = work.await;
        lock.release().await;
        Ok(Some(done))
    }
}

/// Reads the event of a dead letter, of any version up to `supported`.
pub fn read_dead_letter(
    events: &EventReader,
    UndecidedDlqEvent { record, failure, .. }: &UndecidedDlqEvent,
    supported: u64,
) -> Result<CouponIssued, ReadError> {
    events.check_refused_before(&failure.code)?;
    events.read(record.payload.as_deref(), record.header(signing::HEADER).as_deref(), supported)
}

/// Whether Redis, of the row's epoch, has reached every sequence that was seen in an event and that Redis can have given.
pub(crate) async fn is_ahead(database: &Database, coupon: &Coupon, view: &View) -> Result<bool, RepoError> {
    Ok(view.seq >= coupon.high_seq
        || view.seq >= database.reconciliations().vouched_seq(&coupon.coupon_code, view.seq).await?)
}
