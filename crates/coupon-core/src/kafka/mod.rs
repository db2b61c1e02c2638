//! Kafka: publishing, and consuming with retries that block no other record. The only module that knows the `rdkafka` crate.
//!
//! The parts that decide ([`Watermark`], the circuit breakers, the partition tracker) hold no I/O; the engine feeds them.

mod asking;
mod breaker_states;
mod breakers;
mod certificate;
mod clients;
mod cluster;
mod context;
mod dead_letter;
mod engine;
mod error;
mod handler;
mod lag;
mod oauth;
mod partition_tracker;
mod producer;
mod progress;
mod reason;
mod record;
mod rights;
mod rotation;
mod settings;
mod topics;
mod watermark;

pub use breaker_states::{BreakerState, BreakerStates, Outage};
pub use cluster::{Cluster, Node};
pub use dead_letter::{DeadLetter, Origin, read_origin};
pub use engine::{Engine, Policy, Readiness};
pub use error::PublishError;
pub use handler::{Attempt, Handler, History, Work};
pub use lag::LagSettings;
pub use oauth::OAuthSettings;
pub use producer::{Delivered, Publisher};
pub use progress::{ConsumerProgress, EndOffsets, Gap, PartitionProgress};
pub use record::{Header, Record};
pub use rights::Right;
pub use settings::{ConsumerSettings, GroupSettings, KafkaSettings, check_topic};
pub use topics::{Broker, Holds, Topic, TopicState};
pub use watermark::Watermark;
