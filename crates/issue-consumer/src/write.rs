//! What this stage does with a record: write it, or hand it over to the dead letter topic.

use std::sync::Arc;

use coupon_core::{
    clock::Clock,
    event::{CouponIssued, VERSION},
    failure::Failure,
    kafka::{DeadLetter, Handler, History, Publisher, Record, Work},
    repo::{Database, may_be_the_records_doing},
    writing::Writer,
};

/// Refusals of one dead letter by Kafka after which somebody is told.
const ALARMED_AFTER: u32 = 3;

/// Writes events; what cannot be written goes to the dead letter topic.
pub struct Write {
    /// Writes in batches.
    pub writer: Writer,
    /// For the probe.
    pub database: Database,
    /// The dead letter topic.
    pub dead_letters: Publisher,
    /// Consumer group, as the dead letter names it.
    pub group: String,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Handler for Write {
    type Item = CouponIssued;
    const ATTEMPT_NEEDS: &'static str = "postgresql";
    const GIVE_UP_NEEDS: &'static str = "kafka";

    fn read(&self, record: &Record) -> Result<CouponIssued, Failure> {
        CouponIssued::decode(record.value.as_deref(), VERSION).map_err(|error| Failure::from(&error))
    }

    fn request_id(&self, event: &CouponIssued) -> String {
        event.request_id.to_string()
    }

    async fn attempt(&self, _: &Work<CouponIssued>, event: &CouponIssued, alone: bool) -> Result<(), Failure> {
        let outcome = self.writer.write(event, alone).await?;
        self.writer.settle(event, outcome, self.clock.now()).await
    }

    /// Done only when the broker has acknowledged the dead letter: the offset below it is stored after that.
    async fn give_up(&self, work: &Work<CouponIssued>, failure: &Failure, history: History) -> Result<(), Failure> {
        if history.refusals == ALARMED_AFTER {
            let Record { topic, partition, offset, .. } = &work.record;
            tracing::error!(
                topic, partition, offset, class = %failure.class, code = failure.code,
                "[CRITICAL] kafka refuses a dead letter for good, and its offset stays uncommitted: `issue-consumer doctor` \
                 says what the topic {} lacks",
                self.dead_letters.topic()
            );
        }
        let letter = DeadLetter {
            group: &self.group,
            request_id: work.item.is_ok().then_some(work.request_id.as_str()),
            failure,
            attempts: history.attempts,
            first_failed_at: history.first_failed_at,
            last_failed_at: self.clock.now(),
        };
        let delivery =
            self.dead_letters.publish_record(&letter.of(&work.record)).map_err(|error| Failure::from(&error))?;
        let (partition, offset) = delivery.await.map_err(|error| Failure::from(&error))?;
        metrics::counter!("coupon_dead_letters_written_total", "class" => failure.class.as_str()).increment(1);
        tracing::info!(
            request_id = work.request_id,
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
