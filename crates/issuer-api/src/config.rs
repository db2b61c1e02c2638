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

use crate::{auth::AuthSettings, sold_out::SoldOutSettings};

/// Everything that can be set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiSettings {
    /// The listener for members.
    pub http: HttpSettings,
    /// The listener for probes and metrics.
    pub admin: AdminSettings,
    /// How the token of a member is verified.
    pub auth: AuthSettings,
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
mod tests {
    use coupon_core::runtime::{SettingsArgs, check_defaults, load, print_effective};

    use super::*;

    fn with(key: &str, value: &str) -> Result<ApiSettings, SettingsError> {
        load(&SettingsArgs { config: None, set: vec![(key.to_owned(), value.to_owned())] }, [])
    }

    #[test]
    fn the_defaults_hold_every_key_and_pass_their_check() {
        check_defaults::<ApiSettings>().unwrap();
    }

    #[test]
    fn a_wrong_value_is_refused_in_one_sentence_that_names_key_value_and_what_is_allowed() {
        for (key, value, said) in [
            (
                "http.max_in_flight",
                "0",
                "`http.max_in_flight` is `0` (given by --set), but must be 1 to 1000000 requests",
            ),
            ("http.idle_timeout_ms", "3600001", "but must be 1000 to 3600000 ms"),
            ("outbox.lease_ms", "400000000", "but must be 1000 to 600000 ms"),
            ("auth.algorithms", "none", "`auth.algorithms` is `none` (given by --set), but must be some of HS256"),
            ("auth.algorithms", "RS256,ES512", "but must be some of HS256"),
            (
                "telemetry.access_log",
                "1.5",
                "`telemetry.access_log` is `1.5` (given by --set), but must be 0 to 1 of the",
            ),
            ("telemetry.campaigns", "101", "but must be 0 to 100 campaigns"),
            ("auth.leeway_s", "3600", "but must be 0 to 300 seconds"),
            (
                "auth.member_claim",
                "exp",
                "`auth.member_claim` is `exp` (given by --set), but must be the name of the claim",
            ),
            ("auth.member_claim", "", "`auth.member_claim` is empty"),
            (
                "auth.jwks_url",
                "http://idp.example.com/keys",
                "`auth.jwks_url` is `***` (given by --set), but must be an https URL",
            ),
            ("auth.jwks_url", "https://me:pw@idp.example.com/keys", "`auth.jwks_url` is `***`"),
            ("auth.jwks_url", "keys.json", "but must be an https URL"),
            ("auth.jwks_ca_file", "root.pem", "but must be empty while auth.jwks_url is"),
            ("auth.jwks_refresh_ms", "10", "but must be 1000 to 86400000 ms"),
            ("auth.jwks_min_interval_ms", "0", "but must be 1000 to 3600000 ms"),
            ("kafka.topic", "a b", "`kafka.topic` is `a b`"),
            (
                "alarms.installation",
                "prod\tseoul",
                "but must be at most 60 characters, none of them a control character",
            ),
        ] {
            let sentence = with(key, value).unwrap_err().to_string();
            assert!(sentence.contains(said) && !sentence.contains('\n'), "{sentence}");
        }
    }

    #[test]
    fn a_jwk_set_may_come_by_https_and_by_http_from_this_machine() {
        for url in [
            "https://idp.example.com/keys?v=1",
            "http://127.0.0.1:8080/keys",
            "http://localhost/keys",
            "http://[::1]/k",
        ] {
            assert!(with("auth.jwks_url", url).is_ok(), "{url}");
        }
        assert!(with("auth.jwks_url", "http://127.0.0.1.example.com/keys").is_err());
    }

    #[test]
    fn the_secret_is_not_printed() {
        let secret = "0123456789abcdef0123456789abcdef";
        let settings = with("auth.hmac_secret", secret).unwrap();
        assert!(!print_effective(&settings).contains(secret));
        assert!(!format!("{settings:?}").contains(secret));
    }
}
