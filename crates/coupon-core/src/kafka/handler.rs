//! What a stage does with a record; the engine decides when.

use std::{sync::Arc, thread};

use tokio::sync::mpsc::UnboundedSender;

use super::{Record, breakers::Stage, partition_tracker::Key};
use crate::{
    failure::{Class, Failure},
    ids::RequestId,
};

/// A record and what was read from it.
#[derive(Debug)]
pub struct Work<I> {
    /// The record as it came.
    pub record: Record,
    /// What the handler read from it, or why it could not.
    pub item: Result<I, Failure>,
    /// Request id of the event; `None` when the record could not be read.
    pub request_id: Option<RequestId>,
}

impl<I> Work<I> {
    /// Request id for the log; empty when the record could not be read.
    pub fn request_id(&self) -> String {
        self.request_id.map(|id| id.to_string()).unwrap_or_default()
    }
}

/// The work of a stage. Every method may be called for many records at once, and again after a crash.
pub trait Handler: Send + Sync + 'static {
    /// What a record says.
    type Item: Send + Sync + 'static;
    /// Name of the dependency of [`Handler::attempt`], for the log and the gauge of its circuit breaker.
    const ATTEMPT_DEPENDENCY: &'static str;
    /// Name of the dependency of [`Handler::on_exhausted`]; may be the same.
    const EXHAUSTED_DEPENDENCY: &'static str;

    /// Reads a record, once. A failure goes to [`Handler::on_exhausted`] without an attempt.
    fn read(&self, record: &Record) -> Result<Self::Item, Failure>;

    /// Request id of an event.
    fn request_id(&self, item: &Self::Item) -> RequestId;

    /// Makes one attempt at each of several records. The attempts end in any order, so that none waits for another; one that
    /// is dropped without an end is made again, isolated.
    ///
    /// A stage that writes many records by one statement saves a task for each of them here.
    fn attempt_all(self: Arc<Self>, attempts: Vec<Attempt<Self::Item>>) -> impl Future<Output = ()> + Send {
        for Attempt { work, number, quarantined, mut completion } in attempts {
            completion.is_shared = false;
            let handler = Arc::clone(&self);
            tokio::spawn(async move {
                let end = match &work.item {
                    Ok(item) => handler.attempt(&work, item, number, quarantined).await,
                    Err(failure) => Err(failure.clone()),
                };
                completion.complete(end);
            });
        }
        async {}
    }

    /// One attempt, the `number`th that is charged to the record. `Ok` means durable. With `isolated` nothing else may share
    /// its fate.
    fn attempt(
        &self,
        work: &Work<Self::Item>,
        item: &Self::Item,
        number: u32,
        isolated: bool,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What happens after the last attempt. `Ok` means durable; a failure is tried again, with no attempt charged.
    fn on_exhausted(
        &self,
        work: &Work<Self::Item>,
        failure: &Failure,
        history: History,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Whether a failure that looks like an outage may be the doing of the record itself.
    fn may_be_the_records_doing(failure: &Failure) -> bool;

    /// Probes the dependency of [`Handler::attempt`]: succeeds when a small write was committed.
    fn probe(&self) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// How a stage of a record ended: everything about it is durable, or why not.
pub(super) type StageResult = Result<(), Failure>;

/// The end of a stage, on its way to the engine.
pub(super) struct Completion {
    pub(super) key: Key,
    pub(super) stage: Stage,
    pub(super) result: StageResult,
}

/// One attempt at one record among others.
#[must_use = "an attempt that is dropped without an end is made again"]
pub struct Attempt<I> {
    /// The record.
    pub work: Arc<Work<I>>,
    /// Which attempt it is: one more than have been charged to the record.
    pub number: u32,
    /// Whether an earlier attempt has failed for a reason that may lie in the record.
    pub quarantined: bool,
    pub(super) completion: CompletionGuard,
}

impl<I> Attempt<I> {
    /// Ends the attempt: `Ok` means that its effect is durable.
    pub fn end(self, end: Result<(), Failure>) {
        self.completion.complete(end);
    }
}

/// Sends the completion of a stage to the engine, once, also when a panic ends the stage.
pub(super) struct CompletionGuard {
    key: Key,
    stage: Stage,
    /// Whether other records share the attempt; if not, a panic is charged to this record.
    is_shared: bool,
    /// `None` once the completion is sent.
    engine: Option<UnboundedSender<Completion>>,
}

impl CompletionGuard {
    pub(super) fn new(key: Key, stage: Stage, is_shared: bool, engine: UnboundedSender<Completion>) -> Self {
        Self { key, stage, is_shared, engine: Some(engine) }
    }

    pub(super) fn complete(mut self, result: StageResult) {
        self.send(result);
    }

    fn send(&mut self, result: StageResult) {
        if let Some(engine) = self.engine.take() {
            // The engine is gone only at shutdown, when the record stays outstanding.
            let _ = engine.send(Completion { key: self.key, stage: self.stage, result });
        }
    }
}

impl Drop for CompletionGuard {
    fn drop(&mut self) {
        // A panic in an attempt that others shared cannot be charged to any of them.
        let class = if thread::panicking() && !self.is_shared { Class::Unknown } else { Class::Interrupted };
        let failure = Failure::new(class, "PANIC", "the handler of the record panicked").happened_by_itself();
        self.send(Err(failure));
    }
}

/// What has happened to a record so far.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Attempts that were charged.
    pub attempts: u32,
    /// When the first of them failed.
    pub first_failed_at: chrono::DateTime<chrono::Utc>,
    /// How often the stage after the last attempt has failed for a reason that may lie in the record.
    pub refusals: u32,
}
