//! Publishing: a record counts when the broker has acknowledged it, and not before.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    message::{Header as KafkaHeader, OwnedHeaders, ToBytes},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer},
};

use super::{KafkaSettings, PublishError, Record};
use crate::{
    crash::{self, Moment},
    event::CouponIssued,
};

/// Publishes to one topic. Clones share the client.
#[derive(Clone)]
pub struct Publisher {
    producer: Arc<FutureProducer>,
    topic: Arc<str>,
}

/// The broker's acknowledgement to come: partition and offset.
pub struct Delivery {
    delivery: DeliveryFuture,
    effect: &'static str,
}

impl Publisher {
    /// Makes the client for events; it connects in the background.
    pub fn new(settings: &KafkaSettings, service: &str, topic: &str) -> Result<Self, PublishError> {
        Self::make(&settings.producer(service), topic)
    }

    /// Makes the client for dead letters.
    pub fn of_dead_letters(settings: &KafkaSettings, service: &str, topic: &str) -> Result<Self, PublishError> {
        Self::make(&settings.dead_letter_producer(service), topic)
    }

    fn make(config: &ClientConfig, topic: &str) -> Result<Self, PublishError> {
        let producer: FutureProducer = config.create()?;
        Ok(Self { producer: Arc::new(producer), topic: topic.into() })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Queues an event under its member's key. An error, now or from the [`Delivery`], proves nothing about whether
    /// it arrived.
    pub fn publish(&self, event: &CouponIssued) -> Result<Delivery, PublishError> {
        let value = event.encode();
        let record = FutureRecord::to(&self.topic).key(event.member_id.as_str()).payload(&value);
        self.send("publish an event", record)
    }

    /// Queues a record as it is: key, value, timestamp and headers, to whatever partition its key belongs.
    pub fn publish_record(&self, record: &Record) -> Result<Delivery, PublishError> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for header in &record.headers {
            headers = headers.insert(KafkaHeader { key: &header.name, value: header.value.as_deref() });
        }
        let mut out = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        out.key = record.key.as_deref();
        out.payload = record.value.as_deref();
        out.timestamp = record.timestamp_ms;
        self.send("publish a dead letter", out)
    }

    /// Queues a record; `effect` names what is done by it, see [`crash`].
    fn send<K: ToBytes + ?Sized, P: ToBytes + ?Sized>(
        &self,
        effect: &'static str,
        record: FutureRecord<'_, K, P>,
    ) -> Result<Delivery, PublishError> {
        crash::pass(effect, Moment::Before);
        match self.producer.send_result(record) {
            Ok(delivery) => Ok(Delivery { delivery, effect }),
            Err((error, _)) => Err(error.into()),
        }
    }

    /// Waits until everything queued is acknowledged, for at most `bound`. Dropping a producer throws away what is
    /// queued, so this comes before. `false` when something is left.
    pub async fn flush(&self, bound: Duration) -> bool {
        let producer = Arc::clone(&self.producer);
        // The client's flush blocks the thread it is called on.
        tokio::task::spawn_blocking(move || producer.flush(bound)).await.is_ok_and(|flushed| flushed.is_ok())
    }

    /// Records queued and not acknowledged.
    pub fn in_flight(&self) -> i32 {
        self.producer.in_flight_count()
    }
}

impl Future for Delivery {
    type Output = Result<(i32, i64), PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let effect = self.effect;
        Pin::new(&mut self.delivery).poll(cx).map(|result| match result {
            Ok(Ok(delivery)) => {
                crash::pass(effect, Moment::After);
                Ok((delivery.partition, delivery.offset))
            }
            Ok(Err((error, _))) => Err(error.into()),
            Err(_) => Err(PublishError::Closed),
        })
    }
}
