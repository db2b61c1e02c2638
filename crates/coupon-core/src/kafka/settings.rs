//! The settings of the Kafka clients: what may be configured, and what is fixed.

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use super::OAuthSettings;
use crate::runtime::{Properties, SettingsError, within};

/// The part of the `[kafka]` section that every client needs.
#[derive(Clone, Debug, Default)]
pub struct KafkaSettings {
    /// Addresses of the first brokers to ask: `host:port,host:port`.
    pub brokers: String,
    /// Any librdkafka property but the fixed ones, for every client.
    pub properties: Properties,
    /// Properties of the clients that publish.
    pub producer: Properties,
    /// Properties of the client that consumes.
    pub consumer: Properties,
    /// Properties of the clients that ask: for topics, offsets and settings.
    pub admin: Properties,
    /// Files that hold the value of a property, for every client.
    pub property_files: Properties,
    /// Where the tokens come from by which every client logs in, if it logs in by tokens.
    pub oauth: OAuthSettings,
}

/// The part of the `[kafka]` section that a consumer needs.
#[derive(Clone, Debug)]
pub struct GroupSettings {
    /// Consumer group.
    pub group_id: String,
    /// How long the group waits for a member that is gone, in ms (`session.timeout.ms`).
    pub session_timeout_ms: u64,
}

/// The `[consumer]` section: how many records may be outstanding.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConsumerSettings {
    /// Records of one partition that may be outstanding before it pauses.
    pub window_per_partition: usize,
    /// Records of all partitions that may be outstanding before all pause.
    pub window_total: usize,
}

impl KafkaSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        let address = |part: &str| {
            part.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !self.brokers.split(',').all(|part| address(part.trim())) {
            return Err(SettingsError::invalid(
                "kafka.brokers",
                &self.brokers,
                "host:port, or several with commas between",
            ));
        }
        let kinds = [
            ("properties", &self.properties),
            ("producer", &self.producer),
            ("consumer", &self.consumer),
            ("admin", &self.admin),
        ];
        for (kind, properties) in kinds {
            for (name, value) in properties.iter() {
                check_property(&format!("kafka.{kind}.{name}"), name, value)?;
            }
        }
        for (name, path) in self.property_files.iter() {
            let key = format!("kafka.property_files.{name}");
            if self.properties.iter().any(|(other, _)| other == name) {
                return Err(SettingsError::invalid(key, path, format!("left out, or kafka.properties.{name} must be")));
            }
            check_property(&key, name, &read_property(name, path)?)?;
        }
        self.oauth.check()
    }
}

impl GroupSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        if self.group_id.is_empty() {
            return Err(SettingsError::invalid("kafka.group_id", "", "a name"));
        }
        within("kafka.session_timeout_ms", self.session_timeout_ms, 1_000..=300_000, "ms")
    }
}

impl ConsumerSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("consumer.window_per_partition", self.window_per_partition, 1..=1_000_000, "records")?;
        within("consumer.window_total", self.window_total, 1..=1_000_000, "records")
    }
}

/// Properties on which the guarantees of the pipeline rest; no setting may change them.
const FIXED_PROPERTIES: &[&str] = &[
    "acks",
    "request.required.acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "group.id",
    "group.protocol",
    "partition.assignment.strategy",
    // It would make the producer idempotent.
    "transactional.id",
];

/// Tests a property by making a client with it. The error of the client is not shown: it repeats the value, which may be a
/// password.
fn check_property(key: &str, name: &str, value: &str) -> Result<(), SettingsError> {
    if FIXED_PROPERTIES.contains(&name) {
        return Err(SettingsError::invalid(key, "***", "left out: the pipeline sets it, and keeps its promises by it"));
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(_) => Err(SettingsError::invalid(
            key,
            "***",
            "a property and a value that this build of librdkafka takes (its CONFIGURATION.md lists them)",
        )),
    }
}

/// The value of a property that is kept in a file, without white space at its end.
pub(super) fn read_property(name: &str, path: &str) -> Result<String, SettingsError> {
    let key = || format!("kafka.property_files.{name}");
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError::invalid(key(), path, format!("a file that can be read ({path}: {error})")))?;
    let value = text.trim_end();
    if value.is_empty() {
        return Err(SettingsError::invalid(key(), path, format!("a file that is not empty ({path})")));
    }
    Ok(value.to_owned())
}

/// Tests the name of a topic against what brokers accept.
pub fn check_topic(key: &str, topic: &str) -> Result<(), SettingsError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=249).contains(&topic.len()) && topic.bytes().all(allowed) {
        return Ok(());
    }
    Err(SettingsError::invalid(key, topic, "1 to 249 characters of A-Z a-z 0-9 . _ -"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<(), String> {
        let properties = serde_json::json!({ name: value });
        let properties = serde_json::from_value(properties).unwrap();
        let settings = KafkaSettings { brokers: "localhost:9092".to_owned(), properties, ..KafkaSettings::default() };
        settings.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_property_that_is_none_or_breaks_a_promise_is_refused_without_its_value() {
        assert_eq!(check("linger.ms", "5"), Ok(()));
        for (name, value) in [("sasl.pasword", "hunter2"), ("linger.ms", "hunter2"), ("acks", "hunter2")] {
            let error = check(name, value).unwrap_err();
            assert!(error.contains(&format!("kafka.properties.{name}")) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_value_in_a_file_loses_the_white_space_at_its_end_and_a_file_that_is_missing_is_named() {
        let path = std::env::temp_dir().join(format!("coupon-kafka-password-{}", std::process::id()));
        std::fs::write(&path, "hunter2 \n\n").unwrap();
        let files = |path: &str| KafkaSettings {
            brokers: "localhost:9092".to_owned(),
            property_files: serde_json::from_value(serde_json::json!({ "sasl.password": path })).unwrap(),
            ..KafkaSettings::default()
        };
        let settings = files(&path.display().to_string());
        settings.check().unwrap();
        assert_eq!(settings.admin("test").unwrap().get("sasl.password"), Some("hunter2"));
        let twice = KafkaSettings {
            properties: serde_json::from_value(serde_json::json!({ "sasl.password": "hunter3" })).unwrap(),
            ..settings
        };
        let error = twice.check().unwrap_err().to_string();
        assert!(error.contains("kafka.property_files.sasl.password") && !error.contains("hunter"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = files(&path.display().to_string()).check().unwrap_err().to_string();
        assert!(error.contains("kafka.property_files.sasl.password") && error.contains("No such file"), "{error}");
    }

    #[test]
    fn properties_of_a_kind_override_those_of_all_and_reach_no_other_kind() {
        let map = |value| serde_json::from_value(serde_json::json!({ "client.rack": value })).unwrap();
        let settings = KafkaSettings { properties: map("all"), consumer: map("consumer"), ..KafkaSettings::default() };
        let group = GroupSettings { group_id: "g".to_owned(), session_timeout_ms: 6000 };
        assert_eq!(settings.consumer("test", &group).unwrap().get("client.rack"), Some("consumer"));
        assert_eq!(settings.producer("test").unwrap().get("client.rack"), Some("all"));
        assert_eq!(settings.admin("test").unwrap().get("client.rack"), Some("all"));
    }
}
