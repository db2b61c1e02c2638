//! The settings. `config.default.toml` explains each.

use coupon_core::{
    contract::ContractSettings,
    kafka::{ConsumerSettings, GroupSettings, Holds, KafkaSettings, LagSettings, Topic, check_topic},
    repo::DatabaseSettings,
    runtime::{AdminSettings, LogSettings, Properties, Settings, SettingsError, ShutdownSettings},
    writing::WriterSettings,
};
use serde::{Deserialize, Serialize};

/// All settings of this binary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Config {
    /// `[admin]`
    pub admin: AdminSettings,
    /// `[database]`
    pub database: DatabaseSettings,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[consumer]`
    pub consumer: ConsumerSettings,
    /// `[lag]`
    pub lag: LagSettings,
    /// `[contract]`
    pub contract: ContractSettings,
    /// `[writer]`
    pub writer: WriterSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[shutdown]`
    pub shutdown: ShutdownSettings,
}

/// `[kafka]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kafka {
    /// Bootstrap servers: `host:port,host:port`.
    pub brokers: String,
    /// Topic of the events.
    pub topic: String,
    /// Dead letter topic, for records that cannot be written.
    pub dlq_topic: String,
    /// Fewest partitions of the topic of events with which the service starts.
    pub min_partitions: usize,
    /// Consumer group.
    pub group_id: String,
    /// Time in ms after which the group reassigns the partitions of a consumer that is gone.
    pub session_timeout_ms: u64,
    /// Properties of librdkafka, by their names.
    pub properties: Properties,
}

impl Kafka {
    /// Returns the settings of every Kafka client.
    pub fn client(&self) -> KafkaSettings {
        KafkaSettings { brokers: self.brokers.clone(), properties: self.properties.clone() }
    }

    /// Returns the settings of the consumer group.
    pub fn group(&self) -> GroupSettings {
        GroupSettings { group_id: self.group_id.clone(), session_timeout_ms: self.session_timeout_ms }
    }

    /// Returns what is required of the topic of events, and of the dead letter topic.
    pub fn topics(&self) -> [Topic; 2] {
        let (name, fed_by) = (self.topic.clone(), self.topic.clone());
        let events = Topic { name, setting: "kafka.topic", min_partitions: self.min_partitions, holds: Holds::Events };
        let (name, holds) = (self.dlq_topic.clone(), Holds::DeadLetters { fed_by });
        [events, Topic { name, setting: "kafka.dlq_topic", min_partitions: 1, holds }]
    }
}

impl Settings for Config {
    const PREFIX: &'static str = "ISSUE_CONSUMER";
    const DEFAULTS: &'static str = include_str!("../config.default.toml");
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("DATABASE_URL", "database.url"), ("KAFKA_BROKERS", "kafka.brokers")];

    fn check(&self) -> Result<(), SettingsError> {
        self.database.check()?;
        self.kafka.client().check()?;
        self.kafka.group().check()?;
        check_topic("kafka.topic", &self.kafka.topic)?;
        check_topic("kafka.dlq_topic", &self.kafka.dlq_topic)?;
        if self.kafka.topic == self.kafka.dlq_topic {
            return Err(SettingsError::invalid(
                "kafka.dlq_topic",
                &self.kafka.dlq_topic,
                "another topic than kafka.topic",
            ));
        }
        self.consumer.check()?;
        self.lag.check()?;
        self.contract.check()?;
        self.writer.check()?;
        self.log.check()?;
        self.shutdown.check()
    }
}

#[cfg(test)]
mod tests {
    use coupon_core::runtime::{SettingsArgs, check_defaults, load};

    use super::*;

    #[test]
    fn the_shipped_defaults_are_whole_and_pass_their_own_checks() {
        check_defaults::<Config>().unwrap();
    }

    #[test]
    fn the_dead_letter_topic_cannot_be_the_topic_itself() {
        let environment = [("ISSUE_CONSUMER__KAFKA__DLQ_TOPIC".to_owned(), "coupon-issued".to_owned())];
        let error = load::<Config>(&SettingsArgs::default(), environment).unwrap_err().to_string();
        assert!(error.contains("kafka.dlq_topic") && error.contains("coupon-issued"), "{error}");
    }
}
