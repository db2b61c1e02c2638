//! The settings; what each means is said in `config.default.toml`.

use std::sync::Arc;

use coupon_console::ConsoleSettings;
use coupon_core::{
    budget::Budget,
    clock::SystemClock,
    contract::ContractSettings,
    kafka::{
        ConsumerProgress, ConsumerSettings, GroupSettings, Holds, KafkaSettings, LagSettings, OAuthSettings, Topic,
        check_topic,
    },
    repo::{Database, DatabaseSettings, audit::Identity},
    runtime::{
        AdminSettings, LogSettings, Properties, Settings, SettingsError, ShutdownSettings, TelemetrySettings, within,
    },
    signing::VerificationSettings,
    stock::{RedisSettings, Stock},
    writing::{Writer, WriterSettings},
};
use coupon_operations::{Operations, members::ErasureSettings};
use serde::{Deserialize, Serialize};

use crate::{
    alarm::{AlarmSettings, is_base_url},
    decision_relay::DecisionSettings,
    jobs::JobSettings,
    webhooks::WebhookSettings,
};

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
    /// `[give_up]`
    pub give_up: GiveUpSettings,
    /// `[sweeper]`
    pub sweeper: GiveBackWorkerSettings,
    /// `[alarms]`
    pub alarms: AlarmSettings,
    /// `[webhooks]`
    pub webhooks: WebhookSettings,
    /// `[console]`
    pub console: ConsoleSettings,
    /// `[jobs]`
    pub jobs: JobSettings,
    /// `[reconcile]`
    pub reconcile: ReconcileSettings,
    /// `[decisions]`
    pub decisions: DecisionSettings,
    /// `[retention]`
    pub retention: RetentionSettings,
    /// `[erasure]`
    pub erasure: ErasureSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
    /// `[shutdown]`
    pub shutdown: ShutdownSettings,
}

impl Config {
    /// The settings of alarms, whose links lead to the console where `console.public_url` says where it is.
    pub fn alarm_settings(&self) -> AlarmSettings {
        AlarmSettings { console_url: self.console.public_url.clone(), ..self.alarms.clone() }
    }

    /// Returns the operations of the process `service` in the name of `by`. Kafka is connected to when it is first asked.
    pub fn operations(
        &self,
        database: Database,
        stock: Stock,
        service: &str,
        by: Identity,
    ) -> anyhow::Result<Operations> {
        let (client, kafka) = (self.kafka.client(), &self.kafka);
        Ok(Operations {
            writer: Writer::new(database.clone(), &self.writer),
            events: self.events.reader()?,
            main: ConsumerProgress::new(&client, service, &kafka.topic, &kafka.issue_group_id)?,
            dead_letters: ConsumerProgress::new(&client, service, &kafka.dlq_topic, &kafka.group_id)?,
            database,
            stock,
            erasure: self.erasure.clone(),
            clock: Arc::new(SystemClock),
            by,
        })
    }
}

/// `[kafka]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kafka {
    /// Addresses to begin with: `host:port,host:port`.
    pub brokers: String,
    /// Where dead letters come from.
    pub dlq_topic: String,
    /// Least number of partitions of the topic that is consumed.
    pub min_partitions: usize,
    /// Consumer group.
    pub group_id: String,
    /// Where issue-consumer's events come from.
    pub topic: String,
    /// issue-consumer's group.
    pub issue_group_id: String,
    /// How long the group waits for a member that is gone, in ms.
    pub session_timeout_ms: u64,
    /// Any librdkafka property, for every client.
    pub properties: Properties,
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
            consumer: self.consumer.clone(),
            admin: self.admin.clone(),
            property_files: self.property_files.clone(),
            oauth: self.oauth.clone(),
            ..KafkaSettings::default()
        }
    }

    /// What the consumer needs beyond that.
    pub fn group(&self) -> GroupSettings {
        GroupSettings { group_id: self.group_id.clone(), session_timeout_ms: self.session_timeout_ms }
    }

    /// What is asked of the topic of dead letters, and of that of events, which a rebuild reads to its end.
    pub fn topics(&self) -> [Topic; 2] {
        let (name, holds) = (self.dlq_topic.clone(), Holds::DeadLetters { fed_by: self.topic.clone() });
        let min_partitions = self.min_partitions;
        let dead_letters = Topic { name, setting: "kafka.dlq_topic", min_partitions, holds };
        let name = self.topic.clone();
        [dead_letters, Topic { name, setting: "kafka.topic", min_partitions: 1, holds: Holds::Events }]
    }
}

/// `[give_up]`: the budget of compensations of one coupon for one cause.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GiveUpSettings {
    /// Most compensations at once.
    pub burst: f64,
    /// Further compensations allowed each second.
    pub per_second: f64,
}

/// `[sweeper]`: the give-back worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GiveBackWorkerSettings {
    /// Longest time between two passes of the worker, in ms.
    pub interval_ms: u64,
}

/// `[reconcile]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReconcileSettings {
    /// How often it runs by itself, in ms; 0: never.
    pub every_ms: u64,
    /// Whether it then repairs.
    pub apply: bool,
    /// Whether it publishes again what was lost with a topic, also without `apply`.
    pub requeue: bool,
    /// How long it waits for what is under way, in ms.
    pub wait_ms: u64,
}

/// `[retention]`
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetentionSettings {
    /// How long settled entries are kept, in days.
    pub days: u32,
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
        check_topic("kafka.topic", &self.kafka.topic)?;
        check_topic("decisions.topic", &self.decisions.topic)?;
        if self.kafka.issue_group_id.is_empty() {
            return Err(SettingsError::invalid("kafka.issue_group_id", "", "a name"));
        }
        self.consumer.check()?;
        self.lag.check()?;
        self.contract.check()?;
        self.writer.check()?;
        within("give_up.burst", self.give_up.burst, 0.0..=1_000_000.0, "requests")?;
        within("give_up.per_second", self.give_up.per_second, 0.0..=1_000_000.0, "requests")?;
        within("sweeper.interval_ms", self.sweeper.interval_ms, 10..=60_000, "ms")?;
        self.alarms.check()?;
        self.webhooks.check()?;
        self.console.check()?;
        within("jobs.workers", self.jobs.workers, 0..=20, "jobs")?;
        if !is_base_url(&self.console.public_url) {
            let allowed = "empty, or an http or https URL with a host, without a user and without #";
            return Err(SettingsError::invalid("console.public_url", &self.console.public_url, allowed));
        }
        within("reconcile.wait_ms", self.reconcile.wait_ms, 0..=86_400_000, "ms")?;
        if self.reconcile.every_ms != 0 && !(1_000..=86_400_000).contains(&self.reconcile.every_ms) {
            let allowed = "0 for never, or 1000 to 86400000 ms";
            return Err(SettingsError::invalid("reconcile.every_ms", self.reconcile.every_ms, allowed));
        }
        within("retention.days", self.retention.days, 1..=3650, "days")?;
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
    fn a_budget_that_is_no_number_is_refused() {
        for wrong in ["NaN", "-1", "1e9"] {
            let environment = [("DLQ_CONSUMER__GIVE_UP__BURST".to_owned(), wrong.to_owned())];
            let error = load::<Config>(&SettingsArgs::default(), environment).unwrap_err().to_string();
            assert!(error.contains("give_up.burst"), "{error}");
        }
    }
}
