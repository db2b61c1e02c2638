//! The callbacks of the client, which run inside its poll: assignments, statistics, errors.

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::KafkaError,
};
use tokio::sync::mpsc::UnboundedSender;

/// A change of what this consumer has to consume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assignment {
    /// These partitions were assigned to this consumer.
    Assigned(Vec<i32>),
    /// These partitions were taken from this consumer.
    Revoked(Vec<i32>),
}

/// Passes assignments on to the engine. The callbacks run inside the engine's own poll, before any record of the new
/// assignment is given out, so the engine has only to look before it takes a record in.
pub(super) struct EngineContext {
    pub(super) assignments: UnboundedSender<Assignment>,
}

impl ClientContext for EngineContext {
    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        for partition in partitions.filter(|partition| partition.partition >= 0) {
            // What went to another replica is not fetched here any more, but the client goes on telling its lag as it was.
            // Replicas are added up, so it has none here.
            let is_ours = partition.fetch_state == "active";
            // Until this process has stored an offset, the committed one counts.
            let lags = [partition.consumer_lag_stored, partition.consumer_lag];
            let lag = lags.into_iter().find(|lag| is_ours && *lag >= 0).unwrap_or(0);
            #[expect(clippy::cast_precision_loss, reason = "a lag is far below 2^53")]
            metrics::gauge!("coupon_consumer_lag_records", "partition" => partition.partition.to_string())
                .set(lag as f64);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, "kafka client: {reason}");
    }
}

impl ConsumerContext for EngineContext {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            self.pass_on(Assignment::Revoked(numbers(partitions)));
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.pass_on(Assignment::Assigned(numbers(partitions))),
            Rebalance::Revoke(_) => {}
            Rebalance::Error(error) => tracing::warn!(%error, "the rebalance failed"),
        }
    }
}

impl EngineContext {
    fn pass_on(&self, assignment: Assignment) {
        // The engine is gone only while the consumer is being closed.
        let _ = self.assignments.send(assignment);
    }
}

fn numbers(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
}
