//! What this stage does with a record: write its event, or dead-letter the record.
//!
//! One write goes beyond issuing: if the request of an event was COMPENSATED before, its give-back is made due once more
//! (`Writer::apply_outcome`). `dlq-consumer` then gives the unit back; this stage never does.

use std::sync::Arc;

use coupon_core::{
    clock::Clock,
    event::CouponIssued,
    failure::Failure,
    ids::RequestId,
    kafka::{Attempt, DeadLetter, Handler, History, Publisher, Record, Work},
    repo::{Database, coupon_issues::IssueOutcome, may_be_the_records_doing},
    signing::{self, EventReader},
    writing::Writer,
};

/// Refusals of one dead letter by Kafka after which the log says so at error level.
const REFUSALS_TO_ALARM: u32 = 3;

/// Writes events, and dead-letters the records that cannot be written.
pub struct Write {
    /// The batches that events are written in.
    pub writer: Writer,
    /// Database of the probe.
    pub database: Database,
    /// Publisher to the dead letter topic.
    pub dead_letters: Publisher,
    /// Reads and verifies events.
    pub events: EventReader,
    /// Consumer group, as the dead letter names it.
    pub group: String,
    /// Time of outcomes and dead letters.
    pub clock: Arc<dyn Clock>,
}

impl Handler for Write {
    type Item = Arc<CouponIssued>;
    const ATTEMPT_DEPENDENCY: &'static str = "postgresql";
    const EXHAUSTED_DEPENDENCY: &'static str = "kafka";

    fn read(&self, record: &Record) -> Result<Arc<CouponIssued>, Failure> {
        let event = self.events.read_consumed(record.value.as_deref(), record.header(signing::HEADER))?;
        Ok(Arc::new(CouponIssued { traceparent: record.sampled_trace(), ..event }))
    }

    fn request_id(&self, event: &Arc<CouponIssued>) -> RequestId {
        event.request_id
    }

    async fn attempt_all(self: Arc<Self>, attempts: Vec<Attempt<Arc<CouponIssued>>>) {
        let this = Arc::clone(&self);
        let events = attempts.into_iter().filter_map(move |attempt| {
            // A record that could not be read is dead-lettered without an attempt, so there is an event.
            let event = Arc::clone(attempt.work.item.as_ref().ok()?);
            let (this, written) = (Arc::clone(&this), Arc::clone(&event));
            Some((event, attempt.quarantined, move |outcome| this.end(attempt, &written, outcome)))
        });
        self.writer.write_all(events);
    }

    async fn attempt(
        &self,
        _: &Work<Arc<CouponIssued>>,
        event: &Arc<CouponIssued>,
        _: u32,
        isolated: bool,
    ) -> Result<(), Failure> {
        let outcome = self.writer.write(event, isolated).await?;
        self.writer.apply_outcome(event, outcome, self.clock.now()).await
    }

    /// Done only when the broker has acknowledged the dead letter: the offset below it is stored after that.
    async fn on_exhausted(
        &self,
        work: &Work<Arc<CouponIssued>>,
        failure: &Failure,
        history: History,
    ) -> Result<(), Failure> {
        if history.refusals == REFUSALS_TO_ALARM {
            let Record { topic, partition, offset, .. } = &work.record;
            tracing::error!(
                topic, partition, offset, class = %failure.class, code = failure.code,
                "[CRITICAL] kafka refuses a dead letter for good, and its offset stays uncommitted: `issue-consumer doctor` \
                 says what the topic {} lacks",
                self.dead_letters.topic()
            );
        }
        let request_id = work.request_id();
        let letter = DeadLetter {
            group: &self.group,
            request_id: work.item.is_ok().then_some(request_id.as_str()),
            failure,
            attempts: history.attempts,
            first_failed_at: history.first_failed_at,
            last_failed_at: self.clock.now(),
        };
        let (partition, offset) = self.dead_letters.publish_record(&letter.of(&work.record)).await?;
        metrics::counter!("coupon_dead_letters_written_total", "class" => failure.class.as_str()).increment(1);
        tracing::info!(
            request_id,
            dlq_topic = self.dead_letters.topic(),
            partition,
            offset,
            attempts = history.attempts,
            class = %failure.class,
            code = failure.code,
            "handed over to {} at {partition}/{offset}",
            self.dead_letters.topic()
        );
        Ok(())
    }

    fn may_be_the_records_doing(failure: &Failure) -> bool {
        may_be_the_records_doing(&failure.code)
    }

    async fn probe(&self) -> Result<(), Failure> {
        Ok(self.database.probe().await?)
    }
}

impl Write {
    /// Ends an attempt by the outcome of its event.
    fn end(
        self: Arc<Self>,
        attempt: Attempt<Arc<CouponIssued>>,
        event: &Arc<CouponIssued>,
        outcome: Result<IssueOutcome, Failure>,
    ) {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(failure) => return attempt.end(Err(failure)),
        };
        if let Some(applied) = self.writer.apply_at_once(event, outcome, self.clock.now()) {
            return attempt.end(applied);
        }
        let event = Arc::clone(event);
        tokio::spawn(async move {
            attempt.end(self.writer.apply_outcome(&event, outcome, self.clock.now()).await);
        });
    }
}
