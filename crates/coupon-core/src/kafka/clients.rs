//! The properties of each kind of client: what the pipeline sets itself, and what the settings add.

use rdkafka::{
    ClientConfig, ClientContext,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::KafkaError,
};

use super::{GroupSettings, KafkaSettings, PublishError, settings::read_property};
use crate::runtime::{Properties, SettingsError, Tasks};

impl KafkaSettings {
    /// Keeps a token at hand by which clients log in, if they log in by tokens. To be called before a client is made.
    pub async fn keep_token(&self, tasks: &Tasks) {
        self.oauth.keep_token(tasks).await;
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

    /// The settings of a client: what the pipeline sets, under what is set for all clients, under what is set for its kind.
    /// Files are read now; white space at their ends does not count.
    fn with_properties(&self, mut config: ClientConfig, of_kind: &Properties) -> Result<ClientConfig, SettingsError> {
        for (name, value) in self.properties.iter() {
            config.set(name, value);
        }
        for (name, path) in self.property_files.iter() {
            config.set(name, read_property(name, path)?);
        }
        for (name, value) in of_kind.iter() {
            config.set(name, value);
        }
        if self.oauth.is_on() {
            default(&mut config, &["security.protocol"], "sasl_ssl");
            default(&mut config, &["sasl.mechanism", "sasl.mechanisms"], "OAUTHBEARER");
        }
        // OpenSSL looks where its own package was built to look. This looks where systems keep them: images have
        // /etc/ssl/certs/ca-certificates.crt and nothing else.
        if config.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_lowercase().ends_with("ssl")) {
            default(&mut config, &["ssl.ca.location", "ssl.ca.pem"], "probe");
        }
        Ok(config)
    }

    /// A producer whose acknowledgement means: with the in-sync replicas. It is not idempotent: a record that arrives twice
    /// changes nothing here, because a request id is decided once, and neither does its order. An idempotent producer
    /// would bring the one error that a client never recovers from: a broker that comes back without its last records does
    /// not know the sequence any more, and all that is published from then on is refused until the process is started
    /// again.
    pub(super) fn producer(&self, service: &str) -> Result<ClientConfig, SettingsError> {
        let mut config = self.client(service);
        config
            .set("enable.idempotence", "false")
            .set("acks", "all")
            // Whoever is alone waits for it. With 0, brokers took half as much time again for a record. Several requests may be on
            // their way, because what comes meanwhile would wait for the answer; but no more, because what is in doubt when a
            // connection breaks is sent again, and by default that is a million batches, each of which may have arrived.
            .set("linger.ms", "0.2")
            .set("max.in.flight.requests.per.connection", "5")
            .set("compression.type", "lz4")
            // A record that had to grow by our headers must still fit; the topic has the last word.
            .set("message.max.bytes", "2097152")
            // Longer than a broker's restart; what has not gone through by then is the relay's.
            .set("message.timeout.ms", "120000")
            // Of dead letters and decisions: that of the Java clients, so that other producers agree with us on partitions. Events
            // are spread by time, whatever is set here.
            .set("partitioner", "murmur2_random");
        self.with_properties(config, &self.producer)
    }

    /// A producer of dead letters: it takes any record a broker gave, with the headers that are added, and reports
    /// an outage of the brokers early. A record that has arrived all the same comes twice, which changes nothing.
    pub(super) fn dead_letter_producer(&self, service: &str) -> Result<ClientConfig, SettingsError> {
        let mut config = self.producer(service)?;
        config.set("message.max.bytes", "104857600").set("message.timeout.ms", "15000");
        self.with_properties(config, &self.producer)
    }

    /// A producer of decisions: whatever is sent again, the records of a partition keep their order. None is given up while the
    /// brokers are away; whoever waits for it stops it.
    pub(super) fn decision_producer(&self, service: &str) -> Result<ClientConfig, SettingsError> {
        let mut config = self.producer(service)?;
        // Not a matter of speed here, so no change above may change it.
        config.set("max.in.flight.requests.per.connection", "1").set("message.timeout.ms", "0");
        self.with_properties(config, &self.producer)
    }

    /// A consumer whose offsets are stored only by the engine.
    pub(super) fn consumer(&self, service: &str, group: &GroupSettings) -> Result<ClientConfig, SettingsError> {
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
        self.with_properties(config, &self.consumer)
    }

    /// A client that only asks: for metadata, configurations, offsets. It never joins a group. What the settings say of one of
    /// the two intervals, for those who do, need not fit the default of the other, and no client could be made.
    pub(super) fn admin(&self, service: &str) -> Result<ClientConfig, SettingsError> {
        let mut config = self.with_properties(self.client(service), &self.admin)?;
        config.set("session.timeout.ms", "45000").set("max.poll.interval.ms", "300000").remove("group.instance.id");
        // Why a broker has hung up is told at this level only; see `LastError`.
        config.set_log_level(RDKafkaLogLevel::Info);
        Ok(config)
    }
}

/// Makes a client. What the client says of its settings becomes an error about the setting.
pub(super) fn create<C, T>(config: &ClientConfig, context: C) -> Result<T, PublishError>
where
    C: ClientContext,
    T: FromClientConfigAndContext<C>,
{
    config.create_with_context(context).map_err(|error| match error {
        KafkaError::ClientCreation(reason) => refused(config, &reason).into(),
        // The value is not shown, it may be a secret.
        KafkaError::ClientConfig(_, reason, name, _) => refused(config, &format!("{name} {reason}")).into(),
        error => error.into(),
    })
}

fn refused(config: &ClientConfig, reason: &str) -> SettingsError {
    let named = reason.split([' ', ':', '`']).find(|word| word.contains('.') && config.get(word).is_some());
    let named = named.or_else(|| {
        let mut names = ["sasl.mechanism", "sasl.mechanisms"].into_iter();
        names.find(|name| reason.contains("SASL mechanism") && config.get(name).is_some())
    });
    let is_shown = |name: &&str| name.ends_with("location") || name.starts_with("sasl.mechanism");
    let missing = named.filter(|name| name.ends_with("location")).and_then(|name| config.get(name));
    let missing = missing.and_then(|path| std::fs::metadata(path).err());
    let value = named.filter(is_shown).and_then(|name| config.get(name)).map(|value| format!("`{value}`"));
    let hint = match named {
        Some("ssl.key.location") if config.get("ssl.key.password").is_none() => {
            "; if it is encrypted, name the file of its password in kafka.property_files.ssl.key.password"
        }
        Some("ssl.key.location") => "; does the password open it?",
        _ => "",
    };
    SettingsError::Invalid {
        key: named.map_or_else(|| "kafka.properties".to_owned(), |name| format!("kafka.properties.{name}")),
        value: value.unwrap_or_else(|| "***".to_owned()),
        reason: match missing {
            Some(error) => format!("but must be a file that can be read: {error}"),
            None => format!("which the client of kafka refuses: {}{hint}", reason.trim()),
        },
        origin: None,
    }
}

/// Sets the first of these names if none of them is set: they are names of one property, or exclude each other.
fn default(config: &mut ClientConfig, names: &[&str], value: &str) {
    if names.iter().all(|name| config.get(name).is_none()) {
        config.set(names[0], value);
    }
}
