//! The topics as the brokers have them, compared with the contract that the pipeline relies on.

use std::{collections::HashMap, sync::Arc};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    config::RDKafkaLogLevel,
    consumer::Consumer,
    error::KafkaError,
    metadata::MetadataTopic,
    types::RDKafkaErrorCode as Code,
};

use super::{
    KafkaSettings, PublishError,
    asking::{Asking, BROKER_TIMEOUT},
    clients::create,
    context::LastError,
    reason,
};
use crate::clause::{Breach, Clause, Departure, departures, is_number};

/// Least retention of events: longer than the longest outage of a consumer that is to be survived.
const MIN_RETENTION_MS: i64 = 3 * 24 * 60 * 60 * 1000;
/// Room for the headers of a dead letter.
const DEAD_LETTER_HEADER_BYTES: i64 = 64 * 1024;
/// Largest event, with room to spare.
const MAX_EVENT_BYTES: i64 = 64 * 1024;

/// What is required of the settings of every topic. What depends on the brokers or on another topic is compared in code.
const CONTRACT: &[Clause] = &[
    Clause {
        setting: "cleanup.policy",
        holds: |policy| policy == "delete",
        breach: Breach::Breaks,
        otherwise: "records that nobody has read vanish once the same member has a newer one",
        fix: "set cleanup.policy=delete",
    },
    Clause {
        setting: "retention.ms",
        holds: |ms| is_number(ms, |ms| !(0..MIN_RETENTION_MS).contains(&ms)),
        breach: Breach::Breaks,
        otherwise: "it keeps records for less than 3 days, and an outage may take longer",
        fix: "raise retention.ms, or set it to -1",
    },
    Clause {
        setting: "retention.bytes",
        holds: |bytes| bytes == "-1",
        breach: Breach::Breaks,
        otherwise: "records that nobody has read vanish once there are many",
        fix: "set retention.bytes=-1",
    },
    Clause {
        setting: "unclean.leader.election.enable",
        holds: |enable| enable == "false",
        breach: Breach::Weakens,
        otherwise: "it may lose acknowledged records",
        fix: "set unclean.leader.election.enable=false",
    },
    Clause {
        setting: "message.timestamp.type",
        holds: |kind| kind == "CreateTime",
        breach: Breach::Weakens,
        otherwise: "the time of a reservation is replaced by the time of its arrival",
        fix: "set message.timestamp.type=CreateTime",
    },
    Clause {
        setting: "max.message.bytes",
        holds: |bytes| is_number(bytes, |bytes| bytes >= MAX_EVENT_BYTES),
        breach: Breach::Weakens,
        otherwise: "an event may not fit",
        fix: "raise max.message.bytes",
    },
];

/// What is required of a topic of dead letters beyond that. A dead letter keeps the time of its event, and retention goes by
/// that time: what is handed over late would be deleted at once.
const DEAD_LETTER_CONTRACT: &[Clause] = &[Clause {
    setting: "retention.ms",
    holds: |ms| is_number(ms, |ms| ms < 0),
    breach: Breach::Weakens,
    otherwise: "dead letters are deleted by the time of their events",
    fix: "set its retention.ms to -1; decided dead letters are kept in PostgreSQL",
}];

/// A topic that a service requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The setting that names it.
    pub setting: &'static str,
    /// Least number of partitions (`kafka.min_partitions`).
    pub min_partitions: usize,
    /// What the topic holds.
    pub holds: Holds,
}

/// What a topic holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Events.
    Events,
    /// Dead letters of the records of another topic, which must fit with their headers.
    DeadLetters {
        /// That topic.
        fed_by: String,
    },
}

/// A topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// How many partitions it has.
    pub partitions: usize,
    /// Where the topic departs from what is required of it.
    pub departures: Vec<Departure>,
    /// Whether its settings could be asked for.
    pub are_settings_known: bool,
}

/// Asks the brokers about topics, and about the rights of this client.
#[derive(Clone)]
pub struct Broker {
    pub(super) asking: Asking,
    /// Asks for the settings of topics. `None` where clients log in by tokens: this client cannot be given one.
    admin: Option<Arc<AdminClient<LastError>>>,
    pub(super) settings: Arc<KafkaSettings>,
    pub(super) service: Arc<str>,
}

impl Broker {
    /// Makes the clients; they connect in the background.
    pub fn new(settings: &KafkaSettings, service: &str) -> Result<Self, PublishError> {
        let config = settings.admin(service)?;
        let admin = if settings.oauth.is_on() {
            None
        } else {
            // Nobody hears it: what it logs would stay in its queue.
            let mut config = config.clone();
            config.set_log_level(RDKafkaLogLevel::Emerg);
            Some(Arc::new(create(&config, LastError::default())?))
        };
        let asking = Asking::new(settings, config)?;
        Ok(Self { asking, admin, settings: Arc::new(settings.clone()), service: service.into() })
    }

    /// Compares a topic with what is required of it; `None` when there is no such topic.
    pub async fn topic(&self, required: &Topic) -> Result<Option<TopicState>, PublishError> {
        let name = required.name.clone();
        let asked = self.asking.ask(move |client, within| {
            let metadata = client.fetch_metadata(Some(&name), within)?;
            let found = metadata.topics().iter().find(|found| found.name() == name);
            if let Some(code) = found.and_then(MetadataTopic::error).map(Code::from)
                && reason::of_rights(code).is_some()
            {
                return Err(KafkaError::MetadataFetch(code));
            }
            let partitions = found.map(MetadataTopic::partitions).unwrap_or_default();
            let replicas = partitions.iter().map(|partition| partition.replicas().len()).min();
            Ok((partitions.len(), replicas.unwrap_or(0), metadata.brokers().len()))
        });
        let (partitions, replicas, brokers) = asked.await?;
        if partitions == 0 {
            return Ok(None);
        }
        let mut departures = Vec::new();
        if replicas < 3.min(brokers) {
            departures.push(Departure::new(
                Breach::Weakens,
                format!("it has {replicas} replicas on {brokers} brokers"),
                "raise its replication factor to 3",
            ));
        }
        if self.admin.is_none() {
            return Ok(Some(TopicState { partitions, departures, are_settings_known: false }));
        }
        match self.config(&required.name).await? {
            Some(config) => departures.extend(self.compare_settings(required, &config, brokers).await?),
            None => departures.push(Departure::new(
                Breach::Weakens,
                "its settings are not told, so nobody knows whether it keeps what is in it",
                "give its user the right DescribeConfigs on the topic",
            )),
        }
        Ok(Some(TopicState { partitions, departures, are_settings_known: true }))
    }

    async fn compare_settings(
        &self,
        required: &Topic,
        config: &Config,
        brokers: usize,
    ) -> Result<Vec<Departure>, PublishError> {
        let clauses: Vec<Clause> = match required.holds {
            Holds::Events => CONTRACT.to_vec(),
            Holds::DeadLetters { .. } => [CONTRACT, DEAD_LETTER_CONTRACT].concat(),
        };
        let mut found = departures(&clauses, |setting| config.get(setting).cloned());
        let number = |config: &Config, name: &str| config.get(name).and_then(|value| value.parse::<i64>().ok());
        if brokers >= 3 && number(config, "min.insync.replicas").is_none_or(|least| least < 2) {
            found.push(Departure::new(
                Breach::Weakens,
                "it acknowledges with one replica in sync",
                "set min.insync.replicas=2",
            ));
        }
        let Holds::DeadLetters { fed_by } = &required.holds else { return Ok(found) };
        let source = self.config(fed_by).await?.unwrap_or_default();
        if let (Some(fed), Some(own)) = (number(&source, "max.message.bytes"), number(config, "max.message.bytes"))
            && own < fed + DEAD_LETTER_HEADER_BYTES
        {
            found.push(Departure::new(
                Breach::Weakens,
                format!("it takes records up to {own} bytes, {fed_by} up to {fed}"),
                "raise its max.message.bytes to that of the source and 64 KiB more, so that every record fits with its headers",
            ));
        }
        Ok(found)
    }

    /// The settings of a topic; `None` when the brokers do not give them to this client.
    pub(super) async fn config(&self, topic: &str) -> Result<Option<Config>, PublishError> {
        let Some(admin) = &self.admin else { return Ok(None) };
        let options = AdminOptions::new().request_timeout(Some(BROKER_TIMEOUT));
        let answers = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
        // The brokers have answered: what they refuse is not for this client, or there is no such topic.
        let Some(Ok(resource)) = answers.into_iter().next() else { return Ok(None) };
        let entries = resource.entries.into_iter();
        let config: Config = entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
        Ok(Some(config).filter(|config| !config.is_empty()))
    }
}

pub(super) type Config = HashMap<String, String>;
