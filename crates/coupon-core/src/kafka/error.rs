//! What Kafka's errors mean.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::failure::{Class, Classified};

/// A record that Kafka has not acknowledged. It may have arrived all the same.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The client or the broker said so.
    #[error("kafka has not acknowledged the record")]
    Kafka(#[from] KafkaError),
    /// The client was shut down with the record still in its queue.
    #[error("the producer was closed before kafka acknowledged the record")]
    Closed,
}

impl Classified for PublishError {
    /// Only what can never arrive is a verdict on the record; anything else is an outage of Kafka.
    fn class(&self) -> Class {
        match self {
            Self::Kafka(error) => match error.rdkafka_error_code() {
                Some(
                    RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidRecord
                    | RDKafkaErrorCode::InvalidMessage,
                ) => Class::Permanent,
                _ => Class::Unavailable,
            },
            Self::Closed => Class::Interrupted,
        }
    }

    fn code(&self) -> String {
        match self {
            Self::Kafka(error) => {
                error.rdkafka_error_code().map_or("KAFKA".to_owned(), |code| format!("KAFKA_{code:?}"))
            }
            Self::Closed => "KAFKA_CLOSED".to_owned(),
        }
    }
}
