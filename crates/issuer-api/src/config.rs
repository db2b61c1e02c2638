//! The settings; `config.default.toml` explains each key.

use std::{net::SocketAddr, time::Duration};

use coupon_core::{
    contract::ContractSettings,
    kafka::{Holds, KafkaSettings, OAuthSettings, Topic, check_topic},
    repo::DatabaseSettings,
    runtime::{
        AdminSettings, LogSettings, Properties, Settings, SettingsError, ShutdownSettings, TelemetrySettings, within,
    },
    signing::SigningSettings,
    stock::RedisSettings,
};
use serde::{Deserialize, Serialize};

use crate::{admission::AdmissionSettings, auth::AuthSettings, sold_out::SoldOutSettings};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiSettings {
    /// The listener for members.
    pub http: HttpSettings,
    /// The listener for probes and metrics.
    pub admin: AdminSettings,
    /// How the token of a member is verified.
    pub auth: AuthSettings,
    /// How the token of a waiting room is verified.
    pub admission: AdmissionSettings,
    /// Where reservations are made.
    pub redis: RedisSettings,
    /// Where campaigns and decisions are.
    pub database: DatabaseSettings,
    /// Where reservations are published.
    pub kafka: TopicSettings,
    /// How events are signed.
    pub events: SigningSettings,
    /// How outbox entries are kept and published again.
    pub outbox: OutboxSettings,
    /// How often the servers are asked what they keep.
    pub contract: ContractSettings,
    /// How long the sold-out cache refuses without asking Redis.
    pub sold_out: SoldOutSettings,
    /// What the lines for whoever is on call carry.
    pub alarms: AlarmSettings,
    /// What is logged.
    pub log: LogSettings,
    /// What is seen of single requests and campaigns.
    pub telemetry: TelemetrySection,
    /// How long a stop may take.
    pub shutdown: ShutdownSettings,
}

/// The `[http]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpSettings {
    /// Where members ask.
    pub listen: SocketAddr,
    /// Largest request body that is read.
    pub max_body_bytes: usize,
    /// How long a request head may take, and then its body, in ms.
    pub header_timeout_ms: u64,
    /// How long a connection may idle between two requests, in ms.
    pub idle_timeout_ms: u64,
    /// How long an answer waits for Kafka's acknowledgement, in ms.
    pub answer_within_ms: u64,
    /// Requests being worked on at a time.
    pub max_in_flight: usize,
    /// Whether a campaign is shown without a token.
    pub public_campaigns: bool,
}

/// The `[kafka]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TopicSettings {
    /// Addresses to begin with: `host:port,host:port`.
    pub brokers: String,
    /// Where reservations are published.
    pub topic: String,
    /// Least number of partitions of that topic.
    pub min_partitions: usize,
    /// Any librdkafka property, for every client.
    pub properties: Properties,
    /// Properties of the clients that publish.
    pub producer: Properties,
    /// Properties of the clients that only ask.
    pub admin: Properties,
    /// Files with the value of a property.
    pub property_files: Properties,
    /// Where tokens to log in come from.
    pub oauth: OAuthSettings,
}

/// The `[outbox]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutboxSettings {
    /// Most entries of one coupon's outbox.
    pub cap: u64,
    /// Age from which an entry is published again, in ms.
    pub min_age_ms: u64,
    /// Interval between two passes of the relay, in ms.
    pub interval_ms: u64,
    /// Most entries that the relay lists at a time.
    pub batch: usize,
    /// How long the relay lease of one outbox lasts, in ms.
    pub lease_ms: u64,
}

/// The `[alarms]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlarmSettings {
    /// Name of this installation, a field of the `[CRITICAL]` lines; empty: none.
    pub installation: String,
}

/// The `[telemetry]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TelemetrySection {
    /// Where OTLP over HTTP is received; empty: no spans.
    pub otlp_endpoint: String,
    /// Share of the traces begun here that are sampled.
    pub sample_ratio: f64,
    /// Share of the requests that get a line in the access log.
    pub access_log: f64,
    /// Most open campaigns that have metrics of their own.
    pub campaigns: usize,
}

impl TelemetrySection {
    /// Where spans go.
    pub fn traces(&self) -> TelemetrySettings {
        TelemetrySettings { otlp_endpoint: self.otlp_endpoint.clone() }
    }

    fn check(&self) -> Result<(), SettingsError> {
        self.traces().check()?;
        within("telemetry.sample_ratio", self.sample_ratio, 0.0..=1.0, "of the traces")?;
        within("telemetry.access_log", self.access_log, 0.0..=1.0, "of the requests")?;
        within("telemetry.campaigns", self.campaigns, 0..=100, "campaigns")
    }
}

impl TopicSettings {
    /// The settings of a Kafka client.
    pub fn client(&self) -> KafkaSettings {
        KafkaSettings {
            brokers: self.brokers.clone(),
            properties: self.properties.clone(),
            producer: self.producer.clone(),
            admin: self.admin.clone(),
            property_files: self.property_files.clone(),
            oauth: self.oauth.clone(),
            ..KafkaSettings::default()
        }
    }

    /// The requirements of the topic.
    pub fn wanted(&self) -> Topic {
        let min_partitions = self.min_partitions;
        Topic { name: self.topic.clone(), setting: "kafka.topic", min_partitions, holds: Holds::Events }
    }
}

impl HttpSettings {
    /// How long a request head may take, and then its body.
    pub fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    fn check(&self) -> Result<(), SettingsError> {
        within("http.max_body_bytes", self.max_body_bytes, 2..=1 << 20, "bytes")?;
        within("http.header_timeout_ms", self.header_timeout_ms, 100..=60_000, "ms")?;
        within("http.idle_timeout_ms", self.idle_timeout_ms, 1_000..=3_600_000, "ms")?;
        within("http.answer_within_ms", self.answer_within_ms, 0..=60_000, "ms")?;
        within("http.max_in_flight", self.max_in_flight, 1..=1_000_000, "requests")
    }
}

impl OutboxSettings {
    fn check(&self) -> Result<(), SettingsError> {
        within("outbox.cap", self.cap, 1..=10_000_000, "entries")?;
        within("outbox.min_age_ms", self.min_age_ms, 100..=600_000, "ms")?;
        within("outbox.interval_ms", self.interval_ms, 10..=60_000, "ms")?;
        within("outbox.batch", self.batch, 1..=10_000, "entries")?;
        within("outbox.lease_ms", self.lease_ms, 1_000..=600_000, "ms")?;
        if self.lease_ms <= self.interval_ms {
            let allowed =
                format!("more than outbox.interval_ms ({} ms), or it runs out between two looks", self.interval_ms);
            return Err(SettingsError::invalid("outbox.lease_ms", self.lease_ms, allowed));
        }
        Ok(())
    }
}

impl AlarmSettings {
    fn check(&self) -> Result<(), SettingsError> {
        let name = &self.installation;
        if name.chars().count() <= 60 && !name.chars().any(char::is_control) {
            return Ok(());
        }
        let allowed = "at most 60 characters, none of them a control character";
        Err(SettingsError::invalid("alarms.installation", name, allowed))
    }
}

impl Settings for ApiSettings {
    const PREFIX: &'static str = "ISSUER_API";
    const DEFAULTS: &'static str = include_str!("../config.default.toml");
    const ALIASES: &'static [(&'static str, &'static str)] =
        &[("DATABASE_URL", "database.url"), ("REDIS_URL", "redis.url"), ("KAFKA_BROKERS", "kafka.brokers")];

    fn check(&self) -> Result<(), SettingsError> {
        self.http.check()?;
        self.auth.check()?;
        self.admission.check(&self.auth)?;
        self.redis.check()?;
        self.database.check()?;
        self.kafka.client().check()?;
        check_topic("kafka.topic", &self.kafka.topic)?;
        self.outbox.check()?;
        self.contract.check()?;
        // The next member after a unit came back gets it within a second (DESIGN, A9).
        within("sold_out.believed_ms", self.sold_out.believed_ms, 0..=900, "ms")?;
        self.alarms.check()?;
        self.log.check()?;
        self.telemetry.check()?;
        self.shutdown.check()
    }
}

#[cfg(test)]
mod tests;
