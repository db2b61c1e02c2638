//! What Kafka's errors mean for a record that was to be published. The tests hold the table of all error codes, with the reason
//! for the class of each.

use rdkafka::{error::KafkaError, types::RDKafkaErrorCode as Code};

use crate::{
    failure::{Class, Classified},
    runtime::{SettingsError, chain},
};

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
    /// The client cannot be made of its settings.
    #[error("the client of kafka cannot be made")]
    Settings(#[from] SettingsError),
    /// The brokers refuse this client, or are not reached.
    #[error("{what}; {fix}")]
    Refused {
        /// What was seen.
        what: String,
        /// What to do about it.
        fix: String,
    },
}

impl PublishError {
    /// What was seen, and what to do about it.
    pub fn what_and_fix(&self) -> (String, String) {
        match self {
            Self::Refused { what, fix } => (what.clone(), fix.clone()),
            error => (chain(error).to_string(), "check kafka.brokers and that the brokers run".to_owned()),
        }
    }
}

impl Classified for PublishError {
    fn class(&self) -> Class {
        match self {
            Self::Kafka(error) => error.rdkafka_error_code().map_or(Class::Unavailable, class_of),
            Self::Closed => Class::Interrupted,
            Self::NoTopic(_) | Self::Settings(_) | Self::Refused { .. } => Class::Unavailable,
        }
    }

    fn code(&self) -> String {
        match self {
            Self::Kafka(error) => {
                error.rdkafka_error_code().map_or("KAFKA".to_owned(), |code| format!("KAFKA_{code:?}"))
            }
            Self::Closed => "KAFKA_CLOSED".to_owned(),
            Self::NoTopic(_) => "KAFKA_NO_TOPIC".to_owned(),
            Self::Settings(_) => "KAFKA_SETTINGS".to_owned(),
            Self::Refused { .. } => "KAFKA_REFUSED".to_owned(),
        }
    }
}

/// The class of an error code of the client or the protocol. A code is charged to the record only if it says that this very
/// record can never be taken. All else is an outage: of the broker, of the way to it, of this client's rights or of its
/// settings, which somebody has to put right while the record waits.
fn class_of(code: Code) -> Class {
    match code {
        // The record itself is refused: its size, its form, its timestamp.
        Code::MessageSizeTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidMessage
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::BadMessage
        | Code::KeySerialization
        | Code::ValueSerialization => Class::Permanent,
        // This client ends, or has purged its queue to end.
        Code::BrokerDestroy | Code::DestroyBroker | Code::PurgeQueue | Code::PurgeInflight | Code::Interrupted => {
            Class::Interrupted
        }
        _ => Class::Unavailable,
    }
}

#[cfg(test)]
mod tests;
