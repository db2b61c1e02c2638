//! The settings; what each means is said in `config.default.toml`.

use coupon_core::{
    budget::Budget,
    kafka::{ConsumerSettings, GroupSettings, KafkaSettings, check_topic},
    repo::DatabaseSettings,
    runtime::{AdminSettings, LogSettings, Properties, Settings, SettingsError, ShutdownSettings},
    stock::RedisSettings,
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
    /// `[redis]`
    pub redis: RedisSettings,
    /// `[kafka]`
    pub kafka: Kafka,
    /// `[consumer]`
    pub consumer: ConsumerSettings,
    /// `[writer]`
    pub writer: WriterSettings,
    /// `[give_up]`
    pub give_up: GiveUpSettings,
    /// `[sweeper]`
    pub sweeper: SweeperSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[shutdown]`
    pub shutdown: ShutdownSettings,
}

/// `[kafka]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kafka {
    /// Addresses to begin with: `host:port,host:port`.
    pub brokers: String,
    /// Where dead letters come from.
    pub dlq_topic: String,
    /// Consumer group.
    pub group_id: String,
    /// How long the group waits for a member that is gone, in ms.
    pub session_timeout_ms: u64,
    /// Any librdkafka property.
    pub properties: Properties,
}

impl Kafka {
    /// What every client needs.
    pub fn client(&self) -> KafkaSettings {
        KafkaSettings { brokers: self.brokers.clone(), properties: self.properties.clone() }
    }

    /// What the consumer needs beyond that.
    pub fn group(&self) -> GroupSettings {
        GroupSettings { group_id: self.group_id.clone(), session_timeout_ms: self.session_timeout_ms }
    }
}

/// `[give_up]`: so many requests of one coupon may be given up for one cause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GiveUpSettings {
    /// At once.
    pub burst: f64,
    /// And more each second.
    pub per_second: f64,
}

/// `[sweeper]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SweeperSettings {
    /// How often it looks by itself, in ms.
    pub interval_ms: u64,
}

impl GiveUpSettings {
    /// The budget as the database keeps it.
    pub fn budget(&self) -> Budget {
        Budget { burst: self.burst, per_second: self.per_second }
    }
}

impl Settings for Config {
    const PREFIX: &'static str = "DLQ_CONSUMER";
    const DEFAULTS: &'static str = include_str!("../config.default.toml");
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("DATABASE_URL", "database.url"), ("REDIS_URL", "redis.url"), ("KAFKA_BROKERS", "kafka.brokers")];

    fn check(&self) -> Result<(), SettingsError> {
        self.database.check()?;
        self.redis.check()?;
        self.kafka.client().check()?;
        self.kafka.group().check()?;
        check_topic("kafka.dlq_topic", &self.kafka.dlq_topic)?;
        self.consumer.check()?;
        self.writer.check()?;
        for (key, value) in [("give_up.burst", self.give_up.burst), ("give_up.per_second", self.give_up.per_second)] {
            if !(0.0..=1_000_000.0).contains(&value) {
                return Err(SettingsError::invalid(key, value, "0 to 1000000 requests"));
            }
        }
        if !(10..=60_000).contains(&self.sweeper.interval_ms) {
            return Err(SettingsError::invalid("sweeper.interval_ms", self.sweeper.interval_ms, "10 to 60000 ms"));
        }
        self.log.check("log")?;
        self.shutdown.check("shutdown")
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
    fn a_budget_that_is_no_number_is_refused() {
        for wrong in ["NaN", "-1", "1e9"] {
            let environment = [("DLQ_CONSUMER__GIVE_UP__BURST".to_owned(), wrong.to_owned())];
            let error = load::<Config>(&SettingsArgs::default(), environment).unwrap_err().to_string();
            assert!(error.contains("give_up.burst"), "{error}");
        }
    }
}
