//! Publishing: a record counts when the broker has acknowledged it, and not before.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rdkafka::{
    message::{Header as KafkaHeader, OwnedHeaders},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer},
};

use super::{KafkaSettings, PublishError, Record};
use crate::event::CouponIssued;

/// Publishes to one topic. Clones share the client.
#[derive(Clone)]
pub struct Publisher {
    producer: Arc<FutureProducer>,
    topic: Arc<str>,
}

/// The broker's acknowledgement to come: partition and offset.
pub struct Delivery(DeliveryFuture);

impl Publisher {
    /// Makes the client; it connects in the background.
    pub fn new(settings: &KafkaSettings, service: &str, topic: &str) -> Result<Self, PublishError> {
        let producer: FutureProducer = settings.producer(service).create()?;
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
        self.producer.send_result(record).map(Delivery).map_err(|(error, _)| error.into())
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
        self.producer.send_result(out).map(Delivery).map_err(|(error, _)| error.into())
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
        Pin::new(&mut self.0).poll(cx).map(|result| match result {
            Ok(Ok(delivery)) => Ok((delivery.partition, delivery.offset)),
            Ok(Err((error, _))) => Err(error.into()),
            Err(_) => Err(PublishError::Closed),
        })
    }
}
