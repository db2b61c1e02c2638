//! The callbacks of the clients, which run inside their polls: assignments, statistics, errors, tokens.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

use rdkafka::{
    ClientContext, Statistics, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, ConsumerContext, Rebalance},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::mpsc::UnboundedSender;

use super::oauth;

/// The last error of a client, with the client's own words, for a client that only asks. Clones share it.
#[derive(Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<(Code, String)>>>);

impl LastError {
    pub(super) fn get(&self) -> Option<(Code, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for LastError {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
        // That a broker has hung up is no error of the client, and only logged.
        if facility == "FAIL" {
            let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let is_vague = |code: &Code| matches!(code, Code::AllBrokersDown | Code::BrokerTransportFailure);
            if last.as_ref().is_none_or(|(code, _)| is_vague(code)) {
                let words = text.split_once("]: ").map_or(text, |(_, words)| words);
                *last = Some((Code::BrokerTransportFailure, words.to_owned()));
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That all brokers are away follows the reason why the last of them is.
        if code != Code::AllBrokersDown || last.is_none() {
            *last = Some((code, reason.to_owned()));
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::current_token()
    }
}

impl ConsumerContext for LastError {}

/// Logs a line of librdkafka. What it says of connections comes again and again while a broker is away; the same is said once,
/// with what to do, by whoever waits for the broker.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!("librdkafka: {facility}: {text}");
        }
        RDKafkaLogLevel::Warning if facility != "FAIL" => tracing::warn!("librdkafka: {facility}: {text}"),
        _ => tracing::debug!("librdkafka: {facility}: {text}"),
    }
}

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
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log(level, facility, text);
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::current_token()
    }

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
