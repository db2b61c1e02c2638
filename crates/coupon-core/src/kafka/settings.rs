//! The settings of the Kafka clients: what may be configured, and what is fixed.

use rdkafka::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::runtime::{Properties, SettingsError, within};

/// The part of the `[kafka]` section that every client needs.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// Addresses of the first brokers to ask: `host:port,host:port`.
    pub brokers: String,
    /// Any librdkafka property but the fixed ones.
    pub properties: Properties,
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
        for (name, value) in self.properties.iter() {
            check_property(name, value)?;
        }
        Ok(())
    }

    fn client(&self, service: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", service);
        // The default of 10 s alone would use up all the time work may take to resume after an outage.
        config.set("reconnect.backoff.max.ms", "2000");
        // The default of 300 s leaves partitions that are added unread for minutes.
        config.set("topic.metadata.refresh.interval.ms", "10000");
        config
    }

    fn with_properties(&self, mut config: ClientConfig) -> ClientConfig {
        for (name, value) in self.properties.iter() {
            config.set(name, value);
        }
        config
    }

    /// A producer whose acknowledgement means: with the in-sync replicas. It is not idempotent: a record that arrives twice
    /// changes nothing here, because a request id is decided once, and neither does its order. An idempotent producer
    /// would bring the one error that a client never recovers from: a broker that comes back without its last records does
    /// not know the sequence any more, and all that is published from then on is refused until the process is started
    /// again.
    pub(super) fn producer(&self, service: &str) -> ClientConfig {
        let mut config = self.client(service);
        config
            .set("enable.idempotence", "false")
            .set("acks", "all")
            // What is in doubt when a connection breaks is sent again: by default a million batches, each of which may have
            // arrived.
            .set("max.in.flight.requests.per.connection", "5")
            .set("compression.type", "lz4")
            // With 1 ms an event costs the broker twice as much and this process a tenth more; with 10 ms its member waits
            // for it (measured with crates/coupon-bench).
            .set("linger.ms", "5")
            // A record that had to grow by our headers must still fit; the topic has the last word.
            .set("message.max.bytes", "2097152")
            // Longer than a broker's restart; what has not gone through by then is the relay's.
            .set("message.timeout.ms", "120000")
            // The partitioner of the Java clients, so that other producers agree with us on partitions.
            .set("partitioner", "murmur2_random");
        self.with_properties(config)
    }

    /// A producer of dead letters: it takes any record a broker gave, with the headers that are added, and reports
    /// an outage of the brokers early. A record that has arrived all the same comes twice, which changes nothing.
    pub(super) fn dead_letter_producer(&self, service: &str) -> ClientConfig {
        let mut config = self.producer(service);
        config.set("message.max.bytes", "104857600").set("message.timeout.ms", "15000");
        self.with_properties(config)
    }

    /// A consumer whose offsets are stored only by the engine.
    pub(super) fn consumer(&self, service: &str, group: &GroupSettings) -> ClientConfig {
        let mut config = self.client(service);
        config
            .set("group.id", &group.group_id)
            .set("session.timeout.ms", group.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", (group.session_timeout_ms / 4).clamp(500, 3000).to_string())
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "false")
            // Little is fetched ahead and soon again: the client's own bounds (100,000 records, 64 MiB, 1 MiB of each
            // partition at a time) make a process that has to catch up twice as large, and after it has enough of a
            // partition it looks away for a second.
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.message.max.bytes", "262144")
            .set("fetch.queue.backoff.ms", "5")
            .set("statistics.interval.ms", "5000")
            // The broker-driven protocol (KIP-848) stalls in librdkafka 2.12.
            .set("partition.assignment.strategy", "cooperative-sticky");
        self.with_properties(config)
    }

    /// A client that only asks for metadata and configurations.
    pub(super) fn admin(&self, service: &str) -> ClientConfig {
        self.with_properties(self.client(service))
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
fn check_property(name: &str, value: &str) -> Result<(), SettingsError> {
    let key = format!("kafka.properties.{name}");
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
        let settings = KafkaSettings {
            brokers: "localhost:9092".to_owned(),
            properties: serde_json::from_value(properties).unwrap(),
        };
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
}
