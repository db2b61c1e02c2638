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
    time::{Instant, interval},
};
use tokio_util::time::DelayQueue;

use super::{
    ConsumerSettings, GroupSettings, Handler, History, KafkaSettings, PublishError, Record, Work,
    context::{Assignment, EngineContext},
    lanes::{Key, Lanes},
    needs::{Needs, Stage},
};
use crate::{
    clock::Clock,
    crash::{self, Moment},
    failure::{Class, Failure},
    retry::{Backoff, RetrySchedule},
    runtime::{Condition, Shutdown},
};

mod closing;
mod failing;
mod measuring;
mod starting;

/// How often the gauges are set.
const MEASURED_EVERY: Duration = Duration::from_secs(1);
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
    needs: Needs,
    looks: (mpsc::UnboundedSender<Look>, mpsc::UnboundedReceiver<Look>),
    /// Records that run one at a time, and the one that does.
    alone: (VecDeque<Key>, Option<Key>),
}

struct Entry<I> {
    work: Arc<Work<I>>,
    taken_in: Instant,
    attempts: u32,
    strikes: u32,
    /// Its last attempt failed for a reason that may lie in the record itself.
    guilty: bool,
    first_failed_at: Option<DateTime<Utc>>,
    /// Set once the last attempt has failed.
    giving_up: Option<GivingUp>,
}

/// What is known of a record that is being given up.
#[derive(Clone)]
struct GivingUp {
    failure: Failure,
    backoff: Backoff,
    refusals: u32,
}

/// The moment to look whether what a stage needs is back, with the answer if a probe gave one.
type Look = (Stage, Option<bool>);

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
        Self::measure_from_zero();
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
            needs: Needs::new(H::ATTEMPT_NEEDS, H::GIVE_UP_NEEDS),
            looks: mpsc::unbounded_channel(),
            alone: (VecDeque::new(), None),
        })
    }

    /// Consumes until the shutdown begins, then drains, stores the offsets and leaves the group.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut measure = interval(MEASURED_EVERY);
        loop {
            self.apply_pauses();
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Some(assignment) = self.assignments.recv() => self.apply_assignment(assignment),
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
                Some(due) = poll_fn(|cx| self.timers.poll_expired(cx)), if !self.timers.is_empty() => self.start(due.into_inner()),
                Some(look) = self.looks.1.recv() => self.look(look),
                _ = measure.tick() => self.measure(),
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
                self.needs.retain(|key| self.lanes.get_mut(key).is_some());
                self.alone.0.retain(|key| self.lanes.get_mut(*key).is_some());
                self.start_next_alone();
            }
        }
    }

    fn apply_pauses(&mut self) {
        let changes = self.lanes.changes(self.needs.bars_attempts());
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
    }

    fn take_in(&mut self, record: Record) {
        let item = self.handler.read(&record);
        let request_id = item.as_ref().map(|item| self.handler.request_id(item)).unwrap_or_default();
        let (partition, offset, bytes) = (record.partition, record.offset, record.bytes());
        let giving_up = item.as_ref().err().map(|failure| GivingUp::because(failure.clone()));
        let first_failed_at = giving_up.is_some().then(|| self.clock.now());
        let work = Arc::new(Work { record, item, request_id });
        // Trying to read it was the one attempt there is at a record that cannot be read.
        let attempts = u32::from(giving_up.is_some());
        let taken_in = Instant::now();
        let entry = Entry { work, taken_in, attempts, strikes: 0, guilty: false, first_failed_at, giving_up };
        match self.lanes.deliver(partition, offset, bytes, entry) {
            Some(key) => self.start(key),
            // Of a partition that has just gone, or fetched again after a pause.
            None => tracing::debug!(partition, offset, "a record was delivered that is not to be worked on"),
        }
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
        if self.needs.of(stage).ends_trial(key) {
            // A refusal may be the client's own and says nothing about the brokers: the next record is tried.
            self.looked_for(stage, end.is_ok());
        }
        if stage == Stage::Attempt {
            let outcome = end.as_ref().err().map_or("OK", |failure| failure.class.as_str());
            metrics::counter!("coupon_attempts_total", "outcome" => outcome).increment(1);
        }
        if end.is_ok() {
            self.needs.of(stage).worked();
        }
        match (end, stage) {
            (Ok(()), _) => self.complete(key),
            (Err(failure), Stage::Attempt) => self.attempt_failed(key, failure),
            (Err(failure), Stage::GiveUp) => self.give_up_failed(key, &failure),
        }
        self.start_next_alone();
    }

    fn complete(&mut self, key: Key) {
        let Some(next) = self.lanes.complete(key) else { return };
        crash::pass("store an offset", Moment::Before);
        let mut list = TopicPartitionList::new();
        let stored = list
            .add_partition_offset(&self.topic, key.partition, Offset::Offset(next))
            .and_then(|()| self.consumer.store_offsets(&list));
        if let Err(error) = stored {
            // The partition is being taken away; the next owner repeats these records and finds them decided.
            tracing::debug!(%error, partition = key.partition, "an offset was not stored");
        }
        crash::pass("store an offset", Moment::After);
    }
}

fn panicked(error: &JoinError) -> Failure {
    let class = if error.is_panic() { Class::Unknown } else { Class::Interrupted };
    Failure::new(class, "PANIC", &error.to_string())
}
