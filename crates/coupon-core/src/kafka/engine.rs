//! The consuming engine: retries that block no other record, and outages that charge no attempt.
//!
//! One task owns all state. It never waits for a record: attempts run in tasks of their own, a record in back-off
//! sits on a timer, and the loop goes on polling, so the group membership is kept whatever the database does. An
//! offset is stored when everything below it is durable.
//!
//! Little is done for each single record: records are taken from the client, started and completed in groups, and offsets are
//! stored once for each turn of the loop.

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rdkafka::{
    TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep_until},
};
use tokio_util::time::DelayQueue;

use super::{
    ConsumerProgress, ConsumerSettings, GroupSettings, Handler, History, KafkaSettings, PublishError, Record, Work,
    breakers::{CircuitBreakers, Stage},
    clients::create,
    context::{Assignment, EngineContext},
    engine::isolated::{IsolatedQueue, Strikes},
    handler::{Attempt, Completion},
    lag::{self, Assigned, LagSettings, LagWatch},
    partition_tracker::{Key, PartitionTracker},
};
use crate::{
    clock::Clock,
    failure::Failure,
    retry::{Backoff, RetrySchedule},
    runtime::{Condition, Shutdown, Span, Tasks},
};

mod completing;
mod failing;
mod isolated;
mod measuring;
mod starting;
mod taking;
#[cfg(test)]
mod tests;
mod traces;

/// How often the gauges are set.
const GAUGE_PERIOD: Duration = Duration::from_secs(1);
/// Most records taken in, and most completions handled, in one turn of the loop.
const MAX_RECORDS_PER_TURN: usize = 256;

pub use measuring::Readiness;

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
    readiness: Readiness,
    tracker: PartitionTracker<Entry<H::Item>>,
    timers: DelayQueue<Key>,
    /// Attempts that begin together at the end of this turn.
    shared_attempts: Vec<Attempt<H::Item>>,
    /// Number of stages that have begun and not ended.
    running: usize,
    completions: (mpsc::UnboundedSender<Completion>, mpsc::UnboundedReceiver<Completion>),
    /// Offsets to be stored at the end of this turn, by partition.
    stores: BTreeMap<i32, i64>,
    attempts_ok: metrics::Counter,
    breakers: CircuitBreakers,
    probes: (mpsc::UnboundedSender<ProbeDue>, mpsc::UnboundedReceiver<ProbeDue>),
    isolated: IsolatedQueue,
    /// The consumer group, and the name of the client, for the lag watch.
    group: (String, String),
    assigned: Assigned,
    /// When each partition was last begun anew because its log had become shorter.
    rewound_at: BTreeMap<i32, Instant>,
    /// Partitions whose log has become shorter, as the lag watch reports them.
    rewound: (mpsc::UnboundedSender<i32>, mpsc::UnboundedReceiver<i32>),
    /// The client has reported an error that it does not recover from: a static member whose place another one took.
    is_broken: bool,
}

struct Entry<I> {
    work: Arc<Work<I>>,
    taken_in: Instant,
    attempts: u32,
    strikes: Strikes,
    isolation: Isolation,
    first_failed_at: Option<DateTime<Utc>>,
    /// Set once the last attempt has failed.
    exhausted: Option<Exhausted>,
    /// From the arrival to the end of the record, if it is traced.
    span: Option<Span>,
}

/// With which records a record shares its next attempt. A failure can only raise the isolation of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Isolation {
    /// With all records that start together.
    Shared,
    /// With other quarantined records: the failure may lie in this record, or in one whose statement it shared.
    Quarantined,
    /// With no other record, so that a panic or a failure is known to be of this record.
    Isolated,
}

/// What is known of a record whose last attempt has failed.
#[derive(Clone)]
struct Exhausted {
    failure: Failure,
    backoff: Backoff,
    refusals: u32,
}

/// The moment to find out whether the dependency of a stage is back, with the answer if a probe gave one.
type ProbeDue = (Stage, Option<bool>);

impl<H: Handler> Engine<H> {
    /// Makes the consumer and subscribes it to `topic`.
    pub fn new(
        settings: (&KafkaSettings, &GroupSettings, &ConsumerSettings),
        service: &str,
        topic: &str,
        policy: Policy,
        handler: Arc<H>,
        clock: Arc<dyn Clock>,
        readiness: Readiness,
    ) -> Result<Self, PublishError> {
        let (kafka, group, windows) = settings;
        let (sender, assignments) = mpsc::unbounded_channel();
        let context = EngineContext { assignments: sender };
        Self::measure_from_zero(&readiness.breakers);
        let consumer: StreamConsumer<EngineContext> = create(&kafka.consumer(service, group)?, context)?;
        consumer.subscribe(&[topic])?;
        Ok(Self {
            consumer,
            assignments,
            topic: topic.to_owned(),
            handler,
            policy,
            clock,
            readiness,
            tracker: PartitionTracker::new(windows.clone()),
            timers: DelayQueue::new(),
            shared_attempts: Vec::new(),
            running: 0,
            completions: mpsc::unbounded_channel(),
            stores: BTreeMap::new(),
            attempts_ok: metrics::counter!("coupon_attempts_total", "outcome" => "OK"),
            breakers: CircuitBreakers::new(H::ATTEMPT_DEPENDENCY, H::EXHAUSTED_DEPENDENCY),
            probes: mpsc::unbounded_channel(),
            isolated: IsolatedQueue::default(),
            group: (group.group_id.clone(), service.to_owned()),
            assigned: Assigned::default(),
            rewound_at: BTreeMap::new(),
            rewound: mpsc::unbounded_channel(),
            is_broken: false,
        })
    }

    /// Watches the lag of the group, as the brokers see it, beside [`Engine::run`]. `condition` is not met while records stand
    /// still that this consumer should fetch.
    pub fn watch_lag(
        &self,
        kafka: &KafkaSettings,
        settings: &LagSettings,
        condition: Condition,
        tasks: &Tasks,
    ) -> Result<(), PublishError> {
        let (group, service) = &self.group;
        let progress = ConsumerProgress::new(kafka, service, &self.topic, group)?;
        let watch = LagWatch::new(progress, self.assigned.clone(), settings, condition, self.rewound.0.clone());
        let watch = Arc::new(watch);
        tasks.every("consumer lag", lag::LAG_PERIOD, move || {
            let watch = Arc::clone(&watch);
            async move { watch.measure().await }
        });
        Ok(())
    }

    /// Consumes until the shutdown begins, or until the client is broken for good; then drains, stores the offsets and
    /// leaves the group.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut measure = interval(GAUGE_PERIOD);
        let mut ended = Vec::with_capacity(MAX_RECORDS_PER_TURN);
        while !self.is_broken {
            self.apply_pauses();
            let held = self.tracker.held_until();
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Some(assignment) = self.assignments.recv() => self.apply_assignment(assignment),
                _ = self.completions.1.recv_many(&mut ended, MAX_RECORDS_PER_TURN) => {
                    for completion in ended.drain(..) {
                        self.on_completion(completion);
                    }
                }
                Some(due) = poll_fn(|cx| self.timers.poll_expired(cx)), if !self.timers.is_empty() => self.start(due.into_inner()),
                Some(due) = self.probes.1.recv() => self.probe_due(due),
                _ = measure.tick() => self.measure(),
                Some(partition) = self.rewound.1.recv() => self.seek_to_beginning(partition),
                // Nothing is taken in for a moment; then the window that is full pauses its partition.
                () = sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => {}
                records = taking::next_records(&self.consumer, self.tracker.room()), if held.is_none() => self.take_all_in(records),
            }
            self.start_shared_attempts();
            self.store_offsets();
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
                self.tracker.assign(&partitions);
                self.readiness.joined.ready();
            }
            Assignment::Revoked(partitions) => {
                tracing::info!(topic = self.topic, ?partitions, "partitions revoked");
                self.tracker.revoke(&partitions);
                self.breakers.retain(|key| self.tracker.get_mut(key).is_some());
                self.isolated.retain(|key| self.tracker.get_mut(key).is_some());
                self.start_next_isolated();
            }
        }
    }

    fn apply_pauses(&mut self) {
        let changes = self.tracker.changes(self.breakers.blocks_attempts(), Instant::now());
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
}
