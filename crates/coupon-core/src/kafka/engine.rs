//! The consuming engine: retries that block nobody, and outages that are not verdicts.
//!
//! One task owns all state. It never waits for a record: attempts run in tasks of their own, a record in back-off
//! sits on a timer, and the loop goes on polling, so the group membership is kept whatever the database does. An
//! offset is stored when everything below it is durable.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
};
use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
};
use tokio_util::time::DelayQueue;

use super::{
    Breaker, ConsumerSettings, GroupSettings, Handler, History, KafkaSettings, PublishError, Record, Work,
    context::{Assignment, EngineContext},
    lanes::{Key, Lanes},
};
use crate::{
    clock::Clock,
    failure::{Class, Failure},
    retry::{Backoff, RetrySchedule},
    runtime::{Condition, Shutdown},
};

mod closing;
mod failing;

/// Times a record may find the dependency away, each time after a probe had found it there, before it runs alone.
const STRIKES: u32 = 3;

/// How a stage treats failures.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Attempts and the waits between them.
    pub schedule: RetrySchedule,
    /// Whether the last attempt may be one that was only contended. Where giving up is a verdict it may not.
    pub contended_is_final: bool,
    /// How long work in flight may take to end at shutdown.
    pub drain: Duration,
}

/// Consumes one topic for one handler.
pub struct Engine<H: Handler> {
    consumer: StreamConsumer<EngineContext>,
    assignments: mpsc::UnboundedReceiver<Assignment>,
    topic: String,
    handler: Arc<H>,
    policy: Policy,
    clock: Arc<dyn Clock>,
    joined: Condition,
    lanes: Lanes<Entry<H::Item>>,
    timers: DelayQueue<Key>,
    tasks: JoinSet<End>,
    running: HashMap<Id, (Key, Stage)>,
    breaker: Breaker,
    probes: (mpsc::UnboundedSender<bool>, mpsc::UnboundedReceiver<bool>),
    /// Records that wait for the breaker to close.
    held: Vec<Key>,
    /// Records that run one at a time, and the one that does.
    alone: (VecDeque<Key>, Option<Key>),
}

struct Entry<I> {
    work: Arc<Work<I>>,
    attempts: u32,
    strikes: u32,
    /// Its last attempt failed for a reason that may lie in the record itself.
    guilty: bool,
    first_failed_at: Option<DateTime<Utc>>,
    /// Set once the last attempt has failed.
    giving_up: Option<(Failure, Backoff)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Attempt,
    GiveUp,
}

type End = Result<(), Failure>;

impl<H: Handler> Engine<H> {
    /// Makes the consumer and subscribes it to `topic`. `joined` becomes ready with the first assignment.
    pub fn new(
        settings: (&KafkaSettings, &GroupSettings, &ConsumerSettings),
        service: &str,
        topic: &str,
        policy: Policy,
        handler: Arc<H>,
        clock: Arc<dyn Clock>,
        joined: Condition,
    ) -> Result<Self, PublishError> {
        let (kafka, group, windows) = settings;
        let (sender, assignments) = mpsc::unbounded_channel();
        let context = EngineContext { assignments: sender };
        let consumer: StreamConsumer<EngineContext> = kafka.consumer(service, group).create_with_context(context)?;
        consumer.subscribe(&[topic])?;
        Ok(Self {
            consumer,
            assignments,
            topic: topic.to_owned(),
            handler,
            policy,
            clock,
            joined,
            lanes: Lanes::new(windows.clone()),
            timers: DelayQueue::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            breaker: Breaker::default(),
            probes: mpsc::unbounded_channel(),
            held: Vec::new(),
            alone: (VecDeque::new(), None),
        })
    }

    /// Consumes until the shutdown begins, then drains, stores the offsets and leaves the group.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            self.apply_pauses();
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Some(assignment) = self.assignments.recv() => self.apply_assignment(assignment),
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
                Some(due) = poll_fn(|cx| self.timers.poll_expired(cx)), if !self.timers.is_empty() => self.start(due.into_inner()),
                Some(succeeded) = self.probes.1.recv() => self.probed(succeeded),
                delivered = self.consumer.recv() => {
                    let record = delivered.map(|message| Record::detach(&message));
                    // The poll that gave this record may also have changed what it belongs to.
                    self.apply_assignments();
                    match record {
                        Ok(record) => self.take_in(record),
                        Err(error) => tracing::warn!(%error, topic = self.topic, "kafka gives no records now"),
                    }
                }
            }
        }
        self.close().await;
    }

    fn apply_assignments(&mut self) {
        while let Ok(assignment) = self.assignments.try_recv() {
            self.apply_assignment(assignment);
        }
    }

    fn apply_assignment(&mut self, assignment: Assignment) {
        match assignment {
            Assignment::Assigned(partitions) => {
                tracing::info!(topic = self.topic, ?partitions, "partitions assigned");
                self.lanes.assign(&partitions);
                self.joined.ready();
            }
            Assignment::Revoked(partitions) => {
                tracing::info!(topic = self.topic, ?partitions, "partitions revoked");
                self.lanes.revoke(&partitions);
            }
        }
        metrics::gauge!("coupon_consumer_partitions").set(count(self.lanes.partitions()));
    }

    fn apply_pauses(&mut self) {
        let changes = self.lanes.changes(self.breaker.is_open());
        for (partitions, pause) in [(changes.pause, true), (changes.resume, false)] {
            if partitions.is_empty() {
                continue;
            }
            let mut list = TopicPartitionList::new();
            for partition in &partitions {
                list.add_partition(&self.topic, *partition);
            }
            let changed = if pause { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
            match changed {
                Ok(()) => tracing::debug!(topic = self.topic, ?partitions, pause, "partitions paused or resumed"),
                // Only possible for a partition that is being taken away; the revocation follows.
                Err(error) => tracing::debug!(%error, ?partitions, pause, "partitions could not be paused or resumed"),
            }
        }
        metrics::gauge!("coupon_consumer_outstanding_records").set(count(self.lanes.outstanding()));
    }

    fn take_in(&mut self, record: Record) {
        let item = self.handler.read(&record);
        let request_id = item.as_ref().map(|item| self.handler.request_id(item)).unwrap_or_default();
        let (partition, offset) = (record.partition, record.offset);
        let giving_up = item.as_ref().err().map(|failure| (failure.clone(), give_up_backoff()));
        let first_failed_at = giving_up.is_some().then(|| self.clock.now());
        let work = Arc::new(Work { record, item, request_id });
        // Trying to read it was the one attempt there is at a record that cannot be read.
        let attempts = u32::from(giving_up.is_some());
        let entry = Entry { work, attempts, strikes: 0, guilty: false, first_failed_at, giving_up };
        if let Some(key) = self.lanes.deliver(partition, offset, entry) {
            self.start(key);
        }
    }

    /// Starts the next stage of a record, unless it has to wait for the breaker or for its turn alone.
    fn start(&mut self, key: Key) {
        let open = self.breaker.is_open();
        let Some(entry) = self.lanes.get_mut(key) else { return };
        let (work, handler) = (Arc::clone(&entry.work), Arc::clone(&self.handler));
        if let Some((failure, _)) = entry.giving_up.clone() {
            let first_failed_at = entry.first_failed_at.unwrap_or_else(|| self.clock.now());
            let history = History { attempts: entry.attempts, first_failed_at };
            let task = async move { handler.give_up(&work, &failure, history).await };
            self.running.insert(self.tasks.spawn(task).id(), (key, Stage::GiveUp));
            return;
        }
        if open {
            self.held.push(key);
            return;
        }
        let (isolated, alone) = (entry.strikes >= STRIKES, entry.strikes >= STRIKES || entry.guilty);
        if isolated && self.alone.1.is_some_and(|other| other != key) {
            self.alone.0.push_back(key);
            return;
        }
        if isolated {
            self.alone.1 = Some(key);
        }
        let task = async move { attempt(&*handler, &work, alone, isolated).await };
        self.running.insert(self.tasks.spawn(task).id(), (key, Stage::Attempt));
    }

    fn ended(&mut self, ended: Result<(Id, End), JoinError>) {
        let (id, end) = match ended {
            Ok((id, end)) => (id, end),
            Err(error) => (error.id(), Err(panicked(&error))),
        };
        let Some((key, stage)) = self.running.remove(&id) else { return };
        if self.alone.1 == Some(key) {
            self.alone.1 = None;
        }
        match (end, stage) {
            (Ok(()), _) => self.complete(key),
            (Err(failure), Stage::Attempt) => self.attempt_failed(key, failure),
            (Err(failure), Stage::GiveUp) => self.give_up_failed(key, &failure),
        }
        if self.alone.1.is_none()
            && let Some(next) = self.alone.0.pop_front()
        {
            self.start(next);
        }
    }

    fn complete(&mut self, key: Key) {
        let Some(next) = self.lanes.complete(key) else { return };
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(&self.topic, key.partition, Offset::Offset(next))
            .and_then(|()| self.consumer.store_offsets(&list));
        if let Err(error) = stored {
            // The partition is being taken away; the next owner repeats these records and finds them decided.
            tracing::debug!(%error, partition = key.partition, "an offset was not stored");
        }
    }
}

/// One attempt. A record that runs isolated and finds the dependency away, while a probe right after finds it there,
/// is itself what is wrong: that is charged.
async fn attempt<H: Handler>(handler: &H, work: &Work<H::Item>, alone: bool, isolated: bool) -> End {
    let item = work.item.as_ref().map_err(Clone::clone)?;
    match handler.attempt(work, item, alone).await {
        Err(failure) if isolated && failure.class == Class::Unavailable && handler.probe().await.is_ok() => {
            Err(Failure { class: Class::Unknown, ..failure })
        }
        end => end,
    }
}

fn panicked(error: &JoinError) -> Failure {
    let class = if error.is_panic() { Class::Unknown } else { Class::Interrupted };
    Failure::new(class, "PANIC", &error.to_string())
}

/// 0.5 s, 1 s, 2 s, then 4 s, each with jitter.
fn give_up_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(500), Duration::from_secs(4))
}

#[expect(clippy::cast_precision_loss, reason = "counts of records and partitions are far below 2^53")]
fn count(number: usize) -> f64 {
    number as f64
}
