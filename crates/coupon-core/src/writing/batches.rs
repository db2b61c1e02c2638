//! The batch queues, one for each coupon and epoch, and how a batch is written.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tokio::{sync::Semaphore, time::sleep};

use super::WriterSettings;
use crate::{
    event::CouponIssued,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::{
        Database,
        coupon_issues::{IssueOutcome, WHOLE_BATCH, Written},
    },
};

/// Batches of one queue that are written at once. With two, PostgreSQL has the next one to work on while an answer is on
/// its way; they wait for each other only at the counter of the coupon, which a batch touches last.
const MAX_WRITERS_PER_QUEUE: usize = 2;

/// How often, and with what pause, the lock on a coupon's row is tested before the row counts as held.
const MAX_LOCK_TESTS: u32 = 10;
const LOCK_TEST_PAUSE: Duration = Duration::from_millis(10);

/// Lock timeout of a batch that has waited for a held row for `database.lock_timeout_ms` already: the row is searched by
/// halves, and each half waits again.
const SHORT_LOCK_TIMEOUT: Duration = Duration::from_millis(50);

/// The batches of all coupons.
pub(super) struct Batches {
    database: Database,
    queues: Mutex<HashMap<QueueKey, Queue>>,
    parallel: Semaphore,
    max_batch: usize,
    sizes: metrics::Histogram,
}

/// Which events are written together: those of one coupon and one epoch. Quarantined events have a queue of their own: each
/// is refused up to four times, and among others it would have to be found each time.
#[derive(Clone, PartialEq, Eq, Hash)]
struct QueueKey {
    code: CouponCode,
    epoch: i64,
    quarantined: bool,
}

/// The events of one queue. The queue is in the map as long as it has a writer.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Number of tasks that write batches of this queue.
    writers: usize,
}

/// Takes what became of an event.
pub(super) type OnOutcome = Box<dyn FnOnce(Result<IssueOutcome, Failure>) + Send>;

/// An event that waits for its batch.
pub(super) struct Waiting {
    pub(super) event: Arc<CouponIssued>,
    /// Whether the event has failed before for a reason that may lie in it.
    pub(super) quarantined: bool,
    /// Called once with what became of the event.
    pub(super) on_outcome: OnOutcome,
}

impl Waiting {
    fn is_of(&self, key: &QueueKey) -> bool {
        let QueueKey { code, epoch, quarantined } = key;
        self.quarantined == *quarantined && self.event.epoch == *epoch && self.event.coupon_code == *code
    }
}

impl Batches {
    pub(super) fn new(database: Database, settings: &WriterSettings) -> Arc<Self> {
        let parallel = Semaphore::new(settings.max_parallel);
        let sizes = metrics::histogram!("coupon_batch_events");
        Arc::new(Self { database, queues: Mutex::default(), parallel, max_batch: settings.max_batch, sizes })
    }

    /// Puts events into the queues of their coupons, and starts the writers that the queues lack.
    pub(super) fn put(self: &Arc<Self>, events: impl IntoIterator<Item = Waiting>) {
        let mut events = events.into_iter().peekable();
        let mut writers = Vec::new();
        let mut queues = self.queues();
        while let Some(first) = events.next() {
            let (code, epoch) = (first.event.coupon_code.clone(), first.event.epoch);
            let key = QueueKey { code, epoch, quarantined: first.quarantined };
            let queue = queues.entry(key.clone()).or_default();
            queue.waiting.push(first);
            while let Some(next) = events.next_if(|next| next.is_of(&key)) {
                queue.waiting.push(next);
            }
            // A coupon whose row is held must not keep two permits from the others.
            let max_writers = if self.parallel.available_permits() > 1 { MAX_WRITERS_PER_QUEUE } else { 1 };
            while queue.lacks_writer(self.max_batch, max_writers) {
                queue.writers += 1;
                writers.push(key.clone());
            }
        }
        drop(queues);
        for key in writers {
            QueueWriter::spawn(self, key);
        }
    }

    /// Writes a batch in parts of `part` rows, and gives the size of the parts with which the next batch begins. The database
    /// names the events that are refused or held. Where the refusal comes only with the commit, the batch is halved here
    /// until the refused event stands alone, so that no other event is charged for it.
    async fn write(&self, batch: Vec<Waiting>, mut part: i32) -> i32 {
        let mut pending = vec![(batch, None)];
        while let Some((mut batch, wait)) = pending.pop() {
            let events: Vec<Arc<CouponIssued>> = batch.iter().map(|waiting| Arc::clone(&waiting.event)).collect();
            let Some(code) = events.first().map(|event| event.coupon_code.clone()) else { break };
            self.sizes.record(u32::try_from(events.len()).unwrap_or(u32::MAX));
            match self.database.coupon_issues().issue(events, part, wait).await.map_err(Failure::from) {
                Ok(Written { outcomes, next_part }) => {
                    part = next_part;
                    let mut untried = Vec::new();
                    for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                        match outcome {
                            Some(outcome) => (waiting.on_outcome)(outcome.map_err(|error| of_one_event(error.into()))),
                            None => untried.push(waiting),
                        }
                    }
                    if !untried.is_empty() {
                        pending.push((untried, wait));
                    }
                }
                Err(failure) if failure.class.may_lie_in_one_record() => {
                    if batch.len() == 1 {
                        fail_all(batch, &failure.happened_by_itself());
                        continue;
                    }
                    let second = batch.split_off(batch.len() / 2);
                    pending.extend([(second, wait), (batch, wait)]);
                }
                Err(failure) if self.is_held_up_by_one(&code, &failure).await && wait.is_none() => {
                    pending.push((batch, Some(SHORT_LOCK_TIMEOUT)));
                }
                Err(failure) => fail_all(batch, &failure),
            }
        }
        part
    }

    /// Whether a single decision is held, and not the coupon's row, which every event needs. The row is tested several times:
    /// another batch holds it for a moment at its end.
    async fn is_held_up_by_one(&self, code: &CouponCode, failure: &Failure) -> bool {
        if failure.class != Class::Contended {
            return false;
        }
        for _ in 0..MAX_LOCK_TESTS {
            match self.database.coupons().is_unlocked(code).await {
                Ok(false) => sleep(LOCK_TEST_PAUSE).await,
                answer => return answer.unwrap_or(false),
            }
        }
        false
    }

    /// Writes an event by a statement of its own.
    pub(super) async fn issue(&self, event: &Arc<CouponIssued>) -> Result<IssueOutcome, Failure> {
        let issued = self.database.coupon_issues().issue(vec![Arc::clone(event)], WHOLE_BATCH, None);
        let outcome = issued.await?.outcomes.into_iter().next().flatten();
        Ok(outcome.ok_or_else(super::lost)??)
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<QueueKey, Queue>> {
        // Nothing panics while the lock is held, and a map of waiting events would be whole all the same.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// A second writer begins when a whole batch waits for it; what is less had better grow while the first one writes.
    fn lacks_writer(&self, max_batch: usize, max_writers: usize) -> bool {
        match self.writers {
            0 => !self.waiting.is_empty(),
            writers => writers < max_writers && self.waiting.len() >= max_batch,
        }
    }
}

/// One of the writers of a queue.
struct QueueWriter {
    batches: Arc<Batches>,
    key: QueueKey,
    /// Whether the queue still counts this writer.
    is_counted: bool,
    /// Whether the task has begun. A runtime that shuts down drops what is spawned, unbegun.
    has_begun: bool,
}

impl QueueWriter {
    fn spawn(batches: &Arc<Batches>, key: QueueKey) {
        let writer = Self { batches: Arc::clone(batches), key, is_counted: true, has_begun: false };
        // The task is never aborted: a caller that goes away must not tear the batches of others.
        tokio::spawn(writer.work());
    }

    async fn work(mut self) {
        self.has_begun = true;
        let batches = Arc::clone(&self.batches);
        // The next batch probably has as many refused events as the last one. Each quarantined event is expected to be refused.
        let mut part = if self.key.quarantined { 1 } else { WHOLE_BATCH };
        while let Ok(_permit) = batches.parallel.acquire().await
            && let Some(batch) = self.next()
        {
            part = batches.write(batch, part).await;
        }
    }

    /// Takes the next batch. If nothing waits, or another writer does better alone, there is none, and the queue no longer
    /// counts this writer.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let max_batch = self.batches.max_batch;
        let mut queues = self.batches.queues();
        let queue = queues.get_mut(&self.key)?;
        let least = if queue.writers > 1 { max_batch } else { 1 };
        if queue.waiting.len() < least {
            self.is_counted = false;
            queue.writers -= 1;
            if queue.writers == 0 {
                queues.remove(&self.key);
            }
            return None;
        }
        if queue.waiting.len() <= max_batch {
            return Some(std::mem::take(&mut queue.waiting));
        }
        let rest = queue.waiting.split_off(max_batch);
        Some(std::mem::replace(&mut queue.waiting, rest))
    }
}

impl Drop for QueueWriter {
    /// A panic ends a batch, and must not end its queue: events of a queue that counts a writer and has none would wait for
    /// ever.
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        let mut queues = self.batches.queues();
        let Some(queue) = queues.get_mut(&self.key) else { return };
        queue.writers -= 1;
        if queue.writers > 0 {
            return;
        }
        if queue.waiting.is_empty() || !self.has_begun || !thread::panicking() {
            queues.remove(&self.key);
            return;
        }
        queue.writers += 1;
        drop(queues);
        Self::spawn(&self.batches, self.key.clone());
    }
}

/// The failure of a single event that the database has named. An event whose decision is held will keep no batch waiting once
/// more.
fn of_one_event(failure: Failure) -> Failure {
    if failure.class == Class::Contended { failure.happened_by_itself() } else { failure }
}

/// Ends all events of a batch with the same failure.
fn fail_all(batch: Vec<Waiting>, failure: &Failure) {
    for waiting in batch {
        (waiting.on_outcome)(Err(failure.clone()));
    }
}
