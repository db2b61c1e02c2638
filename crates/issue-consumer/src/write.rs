//! What this stage does with a record: write its event to PostgreSQL, or dead-letter it.

use std::sync::Arc;

use coupon_core::{
    clock::Clock,
    event::{CouponIssued, VERSION},
    failure::Failure,
    ids::RequestId,
    kafka::{Attempt, DeadLetter, Handler, History, Publisher, Record, Work},
    repo::{Database, coupon_issues::IssueOutcome, may_be_the_records_doing},
    writing::Writer,
};

/// Refusals of one dead letter by Kafka after which the log raises an alarm.
const REFUSALS_UNTIL_ALARM: u32 = 3;

/// Writes events, and dead-letters those that cannot be written.
pub struct Write {
    /// Writes events in batches.
    pub writer: Writer,
    /// Takes the probe of the circuit breaker.
    pub database: Database,
    /// Publishes to the dead letter topic.
    pub dead_letters: Publisher,
    /// Consumer group, for a header of the dead letter.
    pub group: String,
    /// Gives the time of failures and writes.
    pub clock: Arc<dyn Clock>,
}

impl Handler for Write {
    type Item = Arc<CouponIssued>;
    const ATTEMPT_DEPENDENCY: &'static str = "postgresql";
    const EXHAUSTED_DEPENDENCY: &'static str = "kafka";

    fn read(&self, record: &Record) -> Result<Arc<CouponIssued>, Failure> {
        CouponIssued::decode(record.value.as_deref(), VERSION).map(Arc::new).map_err(|error| Failure::from(&error))
    }

    fn request_id(&self, event: &Arc<CouponIssued>) -> RequestId {
        event.request_id
    }

    async fn attempt_all(self: Arc<Self>, attempts: Vec<Attempt<Arc<CouponIssued>>>) {
        let this = Arc::clone(&self);
        let events = attempts.into_iter().filter_map(move |attempt| {
            // A record that cannot be read is dead-lettered without an attempt, so there is an event.
            let event = Arc::clone(attempt.work.item.as_ref().ok()?);
            let this = Arc::clone(&this);
            Some((event, attempt.quarantined, move |outcome| this.end(attempt, outcome)))
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
        self.writer.settle(event, outcome, self.clock.now()).await
    }

    /// Dead-letters the record. Returns only when the broker has acknowledged the dead letter, because the offset may be
    /// stored after that.
    async fn on_exhausted(
        &self,
        work: &Work<Arc<CouponIssued>>,
        failure: &Failure,
        history: History,
    ) -> Result<(), Failure> {
        if history.refusals == REFUSALS_UNTIL_ALARM {
            let Record { topic, partition, offset, .. } = &work.record;
            tracing::error!(
                topic, partition, offset, class = %failure.class, code = failure.code,
                "[CRITICAL] kafka refuses a dead letter for good, and its offset stays uncommitted: `issue-consumer doctor` \
                 says what the topic {} lacks",
                self.dead_letters.topic()
            );
        }
        let request_id = work.request_id();
        let dead_letter = DeadLetter {
            group: &self.group,
            request_id: work.item.is_ok().then_some(request_id.as_str()),
            failure,
            attempts: history.attempts,
            first_failed_at: history.first_failed_at,
            last_failed_at: self.clock.now(),
        };
        let delivery =
            self.dead_letters.publish_record(&dead_letter.of(&work.record)).map_err(|error| Failure::from(&error))?;
        let (partition, offset) = delivery.await.map_err(|error| Failure::from(&error))?;
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
        self.database.probe().await.map_err(|error| Failure::from(&error))
    }
}

impl Write {
    /// Ends an attempt with the outcome of its event.
    fn end(self: Arc<Self>, attempt: Attempt<Arc<CouponIssued>>, outcome: Result<IssueOutcome, Failure>) {
        let work = Arc::clone(&attempt.work);
        match (outcome, &work.item) {
            (Ok(outcome), Ok(event)) => match self.writer.settle_at_once(event, outcome, self.clock.now()) {
                Some(settled) => attempt.end(settled),
                None => drop(tokio::spawn(async move {
                    let Ok(event) = &work.item else { return };
                    attempt.end(self.writer.settle(event, outcome, self.clock.now()).await);
                })),
            },
            (Err(failure), _) => attempt.end(Err(failure)),
            (_, Err(failure)) => attempt.end(Err(failure.clone())),
        }
    }
}
