//! The consuming engine: retries that block nobody, and outages that are not verdicts.
//!
//! One task owns all state. It never waits for a record: attempts run in tasks of their own, a record in back-off
//! sits on a timer, and the loop goes on polling, so the group membership is kept whatever the database does. An
//! offset is stored when everything below it is durable.
//!
//! What is done for each record is little, because there are many: records are taken from the client, begun and ended
//! in groups, and offsets are stored once for each turn of the loop.

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep_until},
};
use tokio_util::time::DelayQueue;

use super::{
    ConsumerSettings, GroupSettings, Handler, History, KafkaSettings, Passage, PublishError, Record, Work,
    context::{Assignment, EngineContext},
    engine::alone::{Alone, Strikes},
    handler::{Attempt, Ended},
    lag::{self, Assigned, LagSettings, LagWatch},
    lanes::{Key, Lanes},
    needs::{Needs, Stage},
};
use crate::{
    clock::Clock,
    crash::{self, Moment},
    failure::{Class, Failure},
    retry::{Backoff, RetrySchedule},
    runtime::{Condition, Shutdown, Tasks},
};

mod alone;
mod closing;
mod failing;
mod measuring;
mod starting;
mod taking;
#[cfg(test)]
mod tests;

/// How often the gauges are set.
const MEASURED_EVERY: Duration = Duration::from_secs(1);
/// How long what attempts need may be away before this is a matter of readiness: what takes less is a restart of it.
const AWAY_FOR: Duration = Duration::from_secs(10);
/// Most records taken in, and most ends dealt with, in one turn of the loop.
const TURN: usize = 256;

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
    lanes: Lanes<Entry<H::Item>>,
    timers: DelayQueue<Key>,
    /// Attempts that begin together at the end of this turn.
    together: Vec<Attempt<H::Item>>,
    /// Stages that have begun and not ended.
    running: usize,
    ends: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    /// Offsets to be stored at the end of this turn, by partition.
    stores: BTreeMap<i32, i64>,
    attempts_ok: metrics::Counter,
    needs: Needs,
    looks: (mpsc::UnboundedSender<Look>, mpsc::UnboundedReceiver<Look>),
    alone: Alone,
    /// The group, and the name of the client, for the look from outside.
    group: (String, String),
    assigned: Assigned,
    /// When each partition last began again.
    begun_again: BTreeMap<i32, Instant>,
    /// Partitions whose log has become shorter.
    rewound: (mpsc::UnboundedSender<i32>, mpsc::UnboundedReceiver<i32>),
    /// The client has told of an error that it does not recover from: a static member whose place another one took.
    is_broken: bool,
}

/// What `/readyz` is told by an engine.
#[derive(Clone, Debug)]
pub struct Readiness {
    /// Ready with the first assignment.
    pub joined: Condition,
    /// Unready while what attempts need has been away for more than ten seconds.
    pub needs: Condition,
}

struct Entry<I> {
    work: Arc<Work<I>>,
    taken_in: Instant,
    attempts: u32,
    strikes: Strikes,
    company: Company,
    first_failed_at: Option<DateTime<Utc>>,
    /// Set once the last attempt has failed.
    giving_up: Option<GivingUp>,
}

/// With whom a record shares its next attempt: with ever fewer, by what its attempts have shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Company {
    /// With all that begin together.
    Anybody,
    /// With those whose failure may lie in them too: it was told apart from others in a statement that it shared.
    Suspects,
    /// With nobody, so that whatever happens is its own doing.
    Nobody,
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
            readiness,
            lanes: Lanes::new(windows.clone()),
            timers: DelayQueue::new(),
            together: Vec::new(),
            running: 0,
            ends: mpsc::unbounded_channel(),
            stores: BTreeMap::new(),
            attempts_ok: metrics::counter!("coupon_attempts_total", "outcome" => "OK"),
            needs: Needs::new(H::ATTEMPT_NEEDS, H::GIVE_UP_NEEDS),
            looks: mpsc::unbounded_channel(),
            alone: Alone::default(),
            group: (group.group_id.clone(), service.to_owned()),
            assigned: Assigned::default(),
            begun_again: BTreeMap::new(),
            rewound: mpsc::unbounded_channel(),
            is_broken: false,
        })
    }

    /// Watches from outside how far the group has come, beside [`Engine::run`]. `condition` is not met while records stand
    /// still that this consumer should fetch.
    pub fn watch_lag(
        &self,
        kafka: &KafkaSettings,
        settings: &LagSettings,
        condition: Condition,
        tasks: &Tasks,
    ) -> Result<(), PublishError> {
        let (group, service) = &self.group;
        let passage = Passage::new(kafka, service, &self.topic, group)?;
        let watch = LagWatch::new(passage, self.assigned.clone(), settings, condition, self.rewound.0.clone());
        let watch = Arc::new(watch);
        tasks.every("consumer lag", lag::LOOK, move || {
            let watch = Arc::clone(&watch);
            async move { watch.look().await }
        });
        Ok(())
    }

    /// Consumes until the shutdown begins, or until the client is broken for good; then drains, stores the offsets and
    /// leaves the group.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut measure = interval(MEASURED_EVERY);
        let mut ended = Vec::with_capacity(TURN);
        while !self.is_broken {
            self.apply_pauses();
            let held = self.lanes.held_until();
            tokio::select! {
                biased;
                () = shutdown.stopping() => break,
                Some(assignment) = self.assignments.recv() => self.apply_assignment(assignment),
                _ = self.ends.1.recv_many(&mut ended, TURN) => {
                    for ended in ended.drain(..) {
                        self.ended(ended);
                    }
                }
                Some(due) = poll_fn(|cx| self.timers.poll_expired(cx)), if !self.timers.is_empty() => self.start(due.into_inner()),
                Some(look) = self.looks.1.recv() => self.look(look),
                _ = measure.tick() => self.measure(),
                Some(partition) = self.rewound.1.recv() => self.seek_the_beginning(partition),
                // Nothing is taken in for a moment; then the window that is full pauses its partition.
                () = sleep_until(held.unwrap_or_else(Instant::now)), if held.is_some() => {}
                records = taking::next_records(&self.consumer, self.lanes.room()), if held.is_none() => self.take_all_in(records),
            }
            self.attempt_together();
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
                self.lanes.assign(&partitions);
                self.readiness.joined.ready();
            }
            Assignment::Revoked(partitions) => {
                tracing::info!(topic = self.topic, ?partitions, "partitions revoked");
                self.lanes.revoke(&partitions);
                self.needs.retain(|key| self.lanes.get_mut(key).is_some());
                self.alone.retain(|key| self.lanes.get_mut(key).is_some());
                self.start_next_alone();
            }
        }
    }

    fn apply_pauses(&mut self) {
        let changes = self.lanes.changes(self.needs.bars_attempts(), Instant::now());
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

    fn ended(&mut self, Ended { key, stage, end }: Ended) {
        self.running -= 1;
        if self.alone.ended(key, end.is_ok()) {
            self.acquit();
        }
        if self.needs.of(stage).ends_trial(key) {
            // A refusal may be the client's own and says nothing about the brokers: the next record is tried.
            self.looked_for(stage, end.is_ok());
        }
        if stage == Stage::Attempt {
            match &end {
                Ok(()) => self.attempts_ok.increment(1),
                Err(Failure { class, .. }) => {
                    metrics::counter!("coupon_attempts_total", "outcome" => class.as_str()).increment(1);
                }
            }
        }
        match &end {
            Ok(()) => self.needs.of(stage).worked(),
            Err(Failure { class: Class::Unavailable | Class::Interrupted, .. }) => {}
            Err(_) => self.needs.of(stage).answered(),
        }
        match (end, stage) {
            (Ok(()), _) => self.complete(key),
            (Err(failure), Stage::Attempt) => self.attempt_failed(key, failure),
            (Err(failure), Stage::GiveUp) => self.give_up_failed(key, &failure),
        }
        self.start_next_alone();
    }

    fn complete(&mut self, key: Key) {
        if let Some(next) = self.lanes.complete(key) {
            self.stores.insert(key.partition, next);
        }
    }

    /// Stores what this turn has completed. A partition that went meanwhile has nothing to store any more.
    fn store_offsets(&mut self) {
        let stores = std::mem::take(&mut self.stores);
        if stores.is_empty() {
            return;
        }
        crash::pass("store an offset", Moment::Before);
        for (partition, next) in stores {
            let mut list = TopicPartitionList::new();
            let stored = list
                .add_partition_offset(&self.topic, partition, Offset::Offset(next))
                .and_then(|()| self.consumer.store_offsets(&list));
            if let Err(error) = stored {
                // The partition is being taken away; the next owner repeats these records and finds them decided.
                tracing::debug!(%error, partition, "an offset was not stored");
            }
        }
        crash::pass("store an offset", Moment::After);
    }
}
