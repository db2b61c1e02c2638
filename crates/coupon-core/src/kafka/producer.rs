//! Publishing: a record counts when the broker has acknowledged it, and not before.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::{Header as KafkaHeader, Message, OwnedHeaders, ToBytes},
    producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};
use tokio::sync::oneshot;

use super::{KafkaSettings, PublishError, Record, clients::create, context, oauth, reason, rotation::Rotation};
use crate::{
    crash::{self, Moment},
    event::CouponIssued,
    runtime::{Throttle, TraceParent, on_scrape},
    signing::{self, SigningKey},
};

/// Publishes to one topic. Clones share the client.
#[derive(Clone)]
pub struct Publisher {
    producer: Arc<ThreadedProducer<Deliveries, Rotation>>,
    topic: Arc<str>,
    signing_key: Option<Arc<SigningKey>>,
}

/// Partition and offset of an acknowledged record. An error does not prove that the record has not arrived.
pub type Delivered = Result<(i32, i64), PublishError>;

/// Calls the callback of each record with the acknowledgement, on the thread of the client: a task that only waits for one
/// would cost more than what it waits for.
struct Deliveries {
    /// Chooses the partition; `None`: the key does.
    rotation: Option<Rotation>,
}

static PANICKED: Throttle = Throttle::new();

struct DeliveryCallback {
    effect: &'static str,
    on_delivery: Box<dyn FnOnce(Delivered) + Send + Sync>,
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        context::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // What waits for Kafka says so, once; see `contract::topic`.
        tracing::debug!(%error, "kafka client: {reason}");
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        oauth::current_token()
    }
}

impl ProducerContext<Rotation> for Deliveries {
    type DeliveryOpaque = Box<DeliveryCallback>;

    fn get_custom_partitioner(&self) -> Option<&Rotation> {
        self.rotation.as_ref()
    }

    fn delivery(&self, result: &DeliveryResult<'_>, callback: Box<DeliveryCallback>) {
        let delivered = match result {
            Ok(message) => {
                crash::pass(callback.effect, Moment::After);
                Ok((message.partition(), message.offset()))
            }
            Err((error, _)) => Err(error.clone().into()),
        };
        // A panic must not end the thread, which serves all deliveries.
        let DeliveryCallback { effect, on_delivery } = *callback;
        if catch_unwind(AssertUnwindSafe(|| on_delivery(delivered))).is_err()
            && let Some(count) = PANICKED.admit(effect)
        {
            tracing::error!(effect, count, "what follows from a delivery panicked: {effect}");
        }
    }
}

impl Publisher {
    /// Makes the client for events; it connects in the background.
    pub fn new(settings: &KafkaSettings, service: &str, topic: &str) -> Result<Self, PublishError> {
        Self::make(&settings.producer(service)?, topic, Some(Rotation::new()))
    }

    /// Makes the client for dead letters.
    pub fn of_dead_letters(settings: &KafkaSettings, service: &str, topic: &str) -> Result<Self, PublishError> {
        Self::make(&settings.dead_letter_producer(service)?, topic, None)
    }

    /// Makes the client for decisions.
    pub fn of_decisions(settings: &KafkaSettings, service: &str, topic: &str) -> Result<Self, PublishError> {
        Self::make(&settings.decision_producer(service)?, topic, None)
    }

    fn make(config: &ClientConfig, topic: &str, rotation: Option<Rotation>) -> Result<Self, PublishError> {
        let producer: ThreadedProducer<Deliveries, Rotation> = create(config, Deliveries { rotation })?;
        Ok(Self { producer: Arc::new(producer), topic: topic.into(), signing_key: None })
    }

    /// The same client, which signs the events that it publishes; without a key it does not.
    #[must_use]
    pub fn signing_with(self, key: Option<SigningKey>) -> Self {
        Self { signing_key: key.map(Arc::new), ..self }
    }

    /// Asks whether this client may publish, without publishing: by a record of more than `max_bytes`, the most that the topic
    /// takes. Brokers look at rights first.
    pub(super) async fn may_publish(
        settings: &KafkaSettings,
        service: &str,
        topic: &str,
        max_bytes: usize,
    ) -> Result<(), PublishError> {
        let mut config = settings.producer(service)?;
        config
            .set("message.max.bytes", (max_bytes + 65_536).to_string())
            .set("compression.type", "none")
            .set("message.timeout.ms", "10000");
        let value = vec![0; max_bytes + 1];
        let record = Record {
            topic: topic.to_owned(),
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: None,
            value: Some(value),
            headers: Vec::new(),
        };
        match Self::make(&config, topic, None)?.publish_record(&record).await {
            Err(PublishError::Kafka(error)) if error.rdkafka_error_code() == Some(Code::MessageSizeTooLarge) => Ok(()),
            Err(PublishError::Kafka(error)) => {
                let reason = error.rdkafka_error_code().and_then(reason::of_rights);
                Err(reason.map_or_else(|| error.into(), Into::into))
            }
            delivered => delivered.map(drop),
        }
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Queues an event under its member's key, which does not choose its partition, and calls `on_delivery` with the
    /// acknowledgement, on a thread that must not be held up. An error, returned or delivered, does not prove that the event has
    /// not arrived.
    /// A trace context goes along in a header.
    pub fn publish(
        &self,
        event: &CouponIssued,
        trace: Option<TraceParent>,
        on_delivery: impl FnOnce(Delivered) + Send + Sync + 'static,
    ) -> Result<(), PublishError> {
        let value = event.encode();
        let callback = DeliveryCallback { effect: "publish an event", on_delivery: Box::new(on_delivery) };
        let mut record =
            BaseRecord::with_opaque_to(&self.topic, Box::new(callback)).key(event.member_id.as_str()).payload(&value);
        if trace.is_some() || self.signing_key.is_some() {
            let mut headers = OwnedHeaders::new_with_capacity(2);
            if let Some(key) = &self.signing_key {
                headers = headers.insert(KafkaHeader { key: signing::HEADER, value: Some(&key.sign(&value)) });
            }
            if let Some(trace) = trace {
                headers = headers.insert(KafkaHeader { key: TraceParent::HEADER, value: Some(&trace.to_string()) });
            }
            record = record.headers(headers);
        }
        self.send(record)
    }

    /// Publishes a record as it is, with key, value, timestamp and headers, to the partition of its key, and waits for the
    /// acknowledgement.
    pub async fn publish_record(&self, record: &Record) -> Delivered {
        let delivery = self.queue_record(record, "publish a dead letter")?;
        delivery.await.unwrap_or(Err(PublishError::Closed))
    }

    /// Publishes decisions in this order and waits until all are acknowledged. After an error some may have arrived: publish
    /// all of them again.
    pub async fn publish_decisions(&self, records: &[Record]) -> Result<(), PublishError> {
        let mut deliveries = Vec::with_capacity(records.len());
        let mut outcome = Ok(());
        for record in records {
            match self.queue_record(record, "publish a decision") {
                Ok(delivery) => deliveries.push(delivery),
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        // Each has to end: one that is still on its way must not arrive after those of a later attempt.
        for delivery in deliveries {
            let delivered = delivery.await.unwrap_or(Err(PublishError::Closed));
            outcome = outcome.and(delivered.map(drop));
        }
        outcome
    }

    fn queue_record(
        &self,
        record: &Record,
        effect: &'static str,
    ) -> Result<oneshot::Receiver<Delivered>, PublishError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for header in &record.headers {
            headers = headers.insert(KafkaHeader { key: &header.name, value: header.value.as_deref() });
        }
        let (on_delivery, delivery) = oneshot::channel();
        // The caller may be gone.
        let callback =
            DeliveryCallback { effect, on_delivery: Box::new(|delivered| drop(on_delivery.send(delivered))) };
        let mut out = BaseRecord::<[u8], [u8], _>::with_opaque_to(&self.topic, Box::new(callback)).headers(headers);
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        out.timestamp = record.timestamp_ms;
        self.send(out)?;
        Ok(delivery)
    }

    fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
        &self,
        record: BaseRecord<'_, K, P, Box<DeliveryCallback>>,
    ) -> Result<(), PublishError> {
        crash::pass(record.delivery_opaque.effect, Moment::Before);
        self.producer.send(record).map_err(|(error, _)| error.into())
    }

    /// Measures the queue of this client whenever `/metrics` is asked for.
    pub fn measure_on_scrape(&self) {
        let (producer, topic) = (Arc::downgrade(&self.producer), self.topic.to_string());
        on_scrape(move || {
            let queued = producer.upgrade().map_or(0, |producer| producer.in_flight_count());
            metrics::gauge!("coupon_producer_queue_records", "topic" => topic.clone()).set(queued);
        });
    }

    /// Waits until everything queued is acknowledged, for at most `bound`. Dropping a producer throws away what is
    /// queued, so this comes before. `false` when something is left.
    pub async fn flush(&self, bound: Duration) -> bool {
        let producer = Arc::clone(&self.producer);
        // The client's flush blocks the thread it is called on.
        tokio::task::spawn_blocking(move || producer.flush(bound)).await.is_ok_and(|flushed| flushed.is_ok())
    }
}
