//! A client that asks the brokers, and says why they do not answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaErrorCode as Code,
};

use super::{
    KafkaSettings, OAuthSettings, PublishError,
    clients::create,
    context::LastError,
    reason::{self, Reason},
};

/// How long the brokers may take to answer a question.
pub(super) const BROKER_TIMEOUT: Duration = Duration::from_secs(10);
/// After so long a question is given up for a moment, to hear what the client has to say, and asked again.
const SLICE: Duration = Duration::from_secs(2);

/// A consumer that is in no group, and only asks. Clones share the client.
#[derive(Clone)]
pub(super) struct Asking {
    client: Arc<BaseConsumer<LastError>>,
    last: LastError,
    config: Arc<ClientConfig>,
    oauth: OAuthSettings,
}

impl Asking {
    /// Makes the client; it connects in the background.
    pub(super) fn new(settings: &KafkaSettings, config: ClientConfig) -> Result<Self, PublishError> {
        let last = LastError::default();
        let client = Arc::new(create(&config, last.clone())?);
        Ok(Self { client, last, config: Arc::new(config), oauth: settings.oauth.clone() })
    }

    /// Asks on a thread of its own. What can be refused only by somebody's decision (rights, logins, certificates) is an error
    /// at once; what a start or a failover of brokers explains is asked again, for ten seconds in all.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&BaseConsumer<LastError>, Duration) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, PublishError> {
        self.oauth.renew_if_due().await;
        let this = self.clone();
        let asked = tokio::task::spawn_blocking(move || this.ask_here(question));
        asked.await.map_err(|_| PublishError::Closed)?
    }

    /// The committed offsets of a group in these partitions.
    pub(super) async fn committed(
        &self,
        places: TopicPartitionList,
        group: &str,
    ) -> Result<TopicPartitionList, PublishError> {
        let asked = self.ask(move |client, within| {
            let committed = client.committed_offsets(places.clone(), within)?;
            committed.elements().iter().try_for_each(TopicPartitionListElem::error)?;
            Ok(committed)
        });
        asked.await.map_err(|error| match &error {
            PublishError::Kafka(why)
                if matches!(why.rdkafka_error_code(), Some(Code::OperationTimedOut | Code::WaitingForCoordinator)) =>
            {
                reason::of_group(group).into()
            }
            _ => error,
        })
    }

    fn ask_here<T>(
        &self,
        question: impl Fn(&BaseConsumer<LastError>, Duration) -> KafkaResult<T>,
    ) -> Result<T, PublishError> {
        let until = Instant::now() + BROKER_TIMEOUT;
        loop {
            self.listen();
            let error = match question(&self.client, SLICE) {
                Ok(answer) => {
                    self.last.clear();
                    return Ok(answer);
                }
                Err(error) => error,
            };
            self.listen();
            let reason = self.reason(&error);
            let is_an_outage = reason.as_ref().is_none_or(|reason| !reason.is_refusal);
            let left = until.saturating_duration_since(Instant::now());
            if !is_an_outage || left.is_zero() || !may_pass(&error) {
                return Err(reason.map_or_else(|| error.into(), Into::into));
            }
            // Some errors come at once.
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Takes in what the client has to say, and gives it the token it asks for.
    fn listen(&self) {
        while self.client.poll(Duration::ZERO).is_some() {}
    }

    fn reason(&self, error: &KafkaError) -> Option<Reason> {
        let code = error.rdkafka_error_code();
        if let Some(reason) = code.and_then(reason::of_rights) {
            return Some(reason);
        }
        let (code, words) = self.last.get()?;
        Some(reason::of_rights(code).unwrap_or_else(|| reason::of_connection(code, &words, &self.config)))
    }
}

/// Whether the same question may be answered a moment later.
fn may_pass(error: &KafkaError) -> bool {
    error.rdkafka_error_code().is_none_or(|code| !matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic))
}
