//! The settings; what each means is said in `config.default.toml`.

use coupon_core::{
    contract::ContractSettings,
    kafka::{ConsumerSettings, GroupSettings, Holds, KafkaSettings, LagSettings, OAuthSettings, Topic, check_topic},
    repo::DatabaseSettings,
    runtime::{AdminSettings, LogSettings, Properties, Settings, SettingsError, ShutdownSettings, TelemetrySettings},
    signing::VerificationSettings,
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
    /// `[events]`
    pub events: VerificationSettings,
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
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
    /// `[shutdown]`
    pub shutdown: ShutdownSettings,
}

/// `[kafka]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kafka {
    /// Addresses of the first brokers to ask: `host:port,host:port`.
    pub brokers: String,
    /// Topic of the events.
    pub topic: String,
    /// Topic of the dead letters.
    pub dlq_topic: String,
    /// Least number of partitions of the topic that is consumed.
    pub min_partitions: usize,
    /// Consumer group.
    pub group_id: String,
    /// How long the group waits for a member that is gone, in ms.
    pub session_timeout_ms: u64,
    /// Any librdkafka property, for every client.
    pub properties: Properties,
    /// Properties of the clients that publish.
    pub producer: Properties,
    /// Properties of the client that consumes.
    pub consumer: Properties,
    /// Properties of the clients that only ask.
    pub admin: Properties,
    /// Files with the value of a property.
    pub property_files: Properties,
    /// Where tokens to log in come from.
    pub oauth: OAuthSettings,
}

impl Kafka {
    /// What every client needs.
    pub fn client(&self) -> KafkaSettings {
        KafkaSettings {
            brokers: self.brokers.clone(),
            properties: self.properties.clone(),
            producer: self.producer.clone(),
            consumer: self.consumer.clone(),
            admin: self.admin.clone(),
            property_files: self.property_files.clone(),
            oauth: self.oauth.clone(),
        }
    }

    /// What the consumer needs beyond that.
    pub fn group(&self) -> GroupSettings {
        GroupSettings { group_id: self.group_id.clone(), session_timeout_ms: self.session_timeout_ms }
    }

    /// What is required of the topic of events, and of that of dead letters.
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
        self.telemetry.check()?;
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
