//! What Kafka's errors mean for a record that was to be published.

use rdkafka::error::KafkaError;

use crate::failure::{Class, Classified};

mod codes;

/// A record that Kafka has not acknowledged. It may have arrived all the same.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The client or the broker said so.
    #[error("kafka has not acknowledged the request")]
    Kafka(#[from] KafkaError),
    /// The client was shut down with the record still in its queue.
    #[error("the producer was closed before kafka acknowledged the record")]
    Closed,
    /// There is no such topic.
    #[error("kafka has no topic {0}: create it, or correct the setting that names it")]
    NoTopic(String),
}

impl Classified for PublishError {
    fn class(&self) -> Class {
        match self {
            Self::Kafka(error) => error.rdkafka_error_code().map_or(Class::Unavailable, codes::class_of),
            Self::Closed => Class::Interrupted,
            Self::NoTopic(_) => Class::Unavailable,
        }
    }

    fn code(&self) -> String {
        match self {
            Self::Kafka(error) => {
                error.rdkafka_error_code().map_or("KAFKA".to_owned(), |code| format!("KAFKA_{code:?}"))
            }
            Self::Closed => "KAFKA_CLOSED".to_owned(),
            Self::NoTopic(_) => "KAFKA_NO_TOPIC".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::error::RDKafkaErrorCode as Code;

    use super::*;

    #[test]
    fn a_refused_record_is_a_verdict_and_a_broker_that_is_away_is_none() {
        let of = |code| PublishError::from(KafkaError::MessageProduction(code)).class();
        assert_eq!(of(Code::MessageSizeTooLarge), Class::Permanent);
        assert_eq!(of(Code::MessageTimedOut), Class::Unavailable);
        assert_eq!(of(Code::TopicAuthorizationFailed), Class::Unavailable);
        assert_eq!(of(Code::PurgeQueue), Class::Interrupted);
        assert_eq!(PublishError::Closed.class(), Class::Interrupted);
    }
}
