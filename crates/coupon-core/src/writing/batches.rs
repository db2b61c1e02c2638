//! Which events wait for which batch, and how a batch is written.

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
        issues::{IssueOutcome, WHOLE_BATCH, Written},
    },
};

/// Batches of one lane that are written at once. With two, PostgreSQL has the next one to work on while an answer is on
/// its way; they wait for each other only at the counter of the coupon, which a batch touches last.
const IN_STEP: usize = 2;

/// How often, and with what pause, a coupon's row is looked at before it counts as held by somebody.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How long one row is waited for that somebody holds, once a batch has waited for it as long as `database.lock_timeout_ms`
/// says: it is looked for by halves, and each of them waits again.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// The batches of all coupons.
pub(super) struct Batches {
    database: Database,
    lanes: Mutex<HashMap<Lane, Queue>>,
    parallel: Semaphore,
    max_batch: usize,
    sizes: metrics::Histogram,
}

/// Events that are written together: of one coupon and one epoch. Suspects have a lane beside that of the others: each is
/// refused up to four times, and among the others it would have to be found each time.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Lane {
    code: CouponCode,
    epoch: i64,
    suspects: bool,
}

/// What waits in one lane. It is in the map as long as it has a writer.
#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Tasks that write batches of it.
    writers: usize,
}

/// An event that waits for its batch.
pub(super) struct Waiting {
    pub(super) event: Arc<CouponIssued>,
    /// Whether it has failed before for a reason that may lie in it.
    pub(super) suspected: bool,
    pub(super) reply: Reply,
}

impl Waiting {
    fn is_of(&self, lane: &Lane) -> bool {
        let Lane { code, epoch, suspects } = lane;
        self.suspected == *suspects && self.event.epoch == *epoch && self.event.coupon_code == *code
    }
}

/// Who wants to know what became of an event.
pub(super) struct Reply(Box<dyn FnOnce(Result<IssueOutcome, Failure>) + Send>);

impl Reply {
    pub(super) fn new(reply: impl FnOnce(Result<IssueOutcome, Failure>) + Send + 'static) -> Self {
        Self(Box::new(reply))
    }
}

impl Batches {
    pub(super) fn new(database: Database, settings: &WriterSettings) -> Arc<Self> {
        let parallel = Semaphore::new(settings.max_parallel);
        let sizes = metrics::histogram!("coupon_batch_events");
        Arc::new(Self { database, lanes: Mutex::default(), parallel, max_batch: settings.max_batch, sizes })
    }

    /// Lets events wait for a batch of theirs, and sees to it that somebody writes it.
    pub(super) fn put(self: &Arc<Self>, events: impl IntoIterator<Item = Waiting>) {
        let mut events = events.into_iter().peekable();
        let mut writers = Vec::new();
        let mut lanes = self.lanes();
        while let Some(first) = events.next() {
            let (code, epoch) = (first.event.coupon_code.clone(), first.event.epoch);
            let lane = Lane { code, epoch, suspects: first.suspected };
            let queue = lanes.entry(lane.clone()).or_default();
            queue.waiting.push(first);
            while let Some(next) = events.next_if(|next| next.is_of(&lane)) {
                queue.waiting.push(next);
            }
            // A coupon that somebody holds must not keep two turns from the others.
            let in_step = if self.parallel.available_permits() > 1 { IN_STEP } else { 1 };
            while queue.wants_a_writer(self.max_batch, in_step) {
                queue.writers += 1;
                writers.push(lane.clone());
            }
        }
        drop(lanes);
        for lane in writers {
            QueueWriter::spawn(self, lane);
        }
    }

    /// Writes a batch, by `part` rows at once, and gives by how many the next one is to be tried. An event that is refused,
    /// or that somebody holds, is told apart from the others by the database. Where the refusal comes only with the commit,
    /// the batch is halved here until the guilty one stands alone, so that nobody else is charged for it.
    async fn write(&self, batch: Vec<Waiting>, mut part: i32) -> i32 {
        let mut pending = vec![(batch, None)];
        while let Some((mut batch, wait)) = pending.pop() {
            let events: Vec<Arc<CouponIssued>> = batch.iter().map(|waiting| Arc::clone(&waiting.event)).collect();
            let Some(code) = events.first().map(|event| event.coupon_code.clone()) else { break };
            self.sizes.record(u32::try_from(events.len()).unwrap_or(u32::MAX));
            match self.database.issue(events, part, wait).await.map_err(|error| Failure::from(&error)) {
                Ok(Written { outcomes, next_part }) => {
                    part = next_part;
                    let mut untried = Vec::new();
                    for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                        match outcome {
                            Some(outcome) => {
                                waiting.reply.0(outcome.map_err(|error| told_apart(Failure::from(&error))));
                            }
                            None => untried.push(waiting),
                        }
                    }
                    if !untried.is_empty() {
                        pending.push((untried, wait));
                    }
                }
                Err(failure) if failure.class.may_lie_in_one_record() => {
                    if batch.len() == 1 {
                        answer(batch, &failure.happened_by_itself());
                        continue;
                    }
                    let second = batch.split_off(batch.len() / 2);
                    pending.extend([(second, wait), (batch, wait)]);
                }
                Err(failure) if self.is_held_up_by_one(&code, &failure).await && wait.is_none() => {
                    pending.push((batch, Some(SHORT_WAIT)));
                }
                Err(failure) => answer(batch, &failure),
            }
        }
        part
    }

    /// Whether somebody was in the way of a single decision and not of the coupon's row, which every event needs.
    async fn is_held_up_by_one(&self, code: &CouponCode, failure: &Failure) -> bool {
        failure.class == Class::Contended && self.is_coupon_unlocked(code).await
    }

    /// Looks several times: another batch holds the coupon's row for a moment at its end.
    async fn is_coupon_unlocked(&self, code: &CouponCode) -> bool {
        for _ in 0..LOOKS {
            match self.database.is_coupon_unlocked(code).await {
                Ok(false) => sleep(BETWEEN_LOOKS).await,
                answer => return answer.unwrap_or(false),
            }
        }
        false
    }

    /// Writes an event by a statement of its own.
    pub(super) async fn issue(&self, event: &Arc<CouponIssued>) -> Result<IssueOutcome, Failure> {
        let written = self.database.issue(vec![Arc::clone(event)], WHOLE_BATCH, None).await;
        let Written { outcomes, .. } = written.map_err(|error| Failure::from(&error))?;
        let outcome = outcomes.into_iter().next().flatten().ok_or_else(super::lost)?;
        outcome.map_err(|error| Failure::from(&error))
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, Queue>> {
        // Nothing panics while the lock is held, and a map of waiting events would be whole all the same.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// A second writer begins when a whole batch waits for it; what is less had better grow while the first one writes.
    fn wants_a_writer(&self, max_batch: usize, in_step: usize) -> bool {
        match self.writers {
            0 => !self.waiting.is_empty(),
            writers => writers < in_step && self.waiting.len() >= max_batch,
        }
    }
}

/// One of the writers of a lane.
struct QueueWriter {
    batches: Arc<Batches>,
    lane: Lane,
    /// Whether the lane still counts it.
    is_counted: bool,
    /// Whether it has begun. A runtime that shuts down drops what is spawned, unbegun.
    has_begun: bool,
}

impl QueueWriter {
    fn spawn(batches: &Arc<Batches>, lane: Lane) {
        let writer = Self { batches: Arc::clone(batches), lane, is_counted: true, has_begun: false };
        // A task nobody aborts: a caller that goes away must not tear the batches of others.
        tokio::spawn(writer.work());
    }

    async fn work(mut self) {
        self.has_begun = true;
        let batches = Arc::clone(&self.batches);
        // What a batch was like the next one probably is. Of suspects each is expected to be refused.
        let mut part = if self.lane.suspects { 1 } else { WHOLE_BATCH };
        while let Ok(_permit) = batches.parallel.acquire().await
            && let Some(batch) = self.next()
        {
            part = batches.write(batch, part).await;
        }
    }

    /// The next batch. Without one, because nothing waits or another writer does better alone, the lane no longer counts
    /// this writer.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let max_batch = self.batches.max_batch;
        let mut lanes = self.batches.lanes();
        let queue = lanes.get_mut(&self.lane)?;
        let least = if queue.writers > 1 { max_batch } else { 1 };
        if queue.waiting.len() < least {
            self.is_counted = false;
            queue.writers -= 1;
            if queue.writers == 0 {
                lanes.remove(&self.lane);
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
    /// A panic ends a batch, and must not end the lane: what somebody seems to write and nobody does would wait for ever.
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        let mut lanes = self.batches.lanes();
        let Some(queue) = lanes.get_mut(&self.lane) else { return };
        queue.writers -= 1;
        if queue.writers > 0 {
            return;
        }
        if queue.waiting.is_empty() || !self.has_begun || !thread::panicking() {
            lanes.remove(&self.lane);
            return;
        }
        queue.writers += 1;
        drop(lanes);
        Self::spawn(&self.batches, self.lane.clone());
    }
}

/// Somebody in the way of one event is in the way of nobody else, and will keep no batch waiting once more.
fn told_apart(failure: Failure) -> Failure {
    if failure.class == Class::Contended { failure.happened_by_itself() } else { failure }
}

/// Tells everybody of a batch the same.
fn answer(batch: Vec<Waiting>, failure: &Failure) {
    for waiting in batch {
        waiting.reply.0(Err(failure.clone()));
    }
}
