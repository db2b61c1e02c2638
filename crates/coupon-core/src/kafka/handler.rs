//! What a stage does with a record; the engine decides when.

use super::Record;
use crate::failure::Failure;

/// A record and what was read from it.
#[derive(Debug)]
pub struct Work<I> {
    /// The record as it came.
    pub record: Record,
    /// What the handler read from it, or why it could not.
    pub item: Result<I, Failure>,
    /// Request id for the log; empty when the record could not be read.
    pub request_id: String,
}

/// The work of a stage. Every method may be called for many records at once, and again after a crash.
pub trait Handler: Send + Sync + 'static {
    /// What a record says.
    type Item: Send + Sync + 'static;
    /// What [`Handler::attempt`] needs from outside, as the log and the gauge of its breaker name it.
    const ATTEMPT_NEEDS: &'static str;
    /// What [`Handler::give_up`] needs; may be the same.
    const GIVE_UP_NEEDS: &'static str;

    /// Reads a record, once. A failure goes to [`Handler::give_up`] without an attempt.
    fn read(&self, record: &Record) -> Result<Self::Item, Failure>;

    /// Name of the request for the log.
    fn request_id(&self, item: &Self::Item) -> String;

    /// One attempt. `Ok` means durable. With `alone` nothing else may share its fate.
    fn attempt(
        &self,
        work: &Work<Self::Item>,
        item: &Self::Item,
        alone: bool,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What happens after the last attempt. `Ok` means durable; a failure is tried again, with no attempt charged.
    fn give_up(
        &self,
        work: &Work<Self::Item>,
        failure: &Failure,
        history: History,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether a failure that looks like an outage may be the doing of the record itself.
    fn may_be_the_records_doing(failure: &Failure) -> bool;

    /// Whether what [`Handler::attempt`] needs is back: a small write that was committed.
    fn probe(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// What has happened to a record so far.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Attempts that were charged.
    pub attempts: u32,
    /// When the first of them failed.
    pub first_failed_at: chrono::DateTime<chrono::Utc>,
    /// How often giving it up has failed for a reason that may lie in the record.
    pub refusals: u32,
}
