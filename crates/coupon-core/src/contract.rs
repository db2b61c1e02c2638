//! The comparison of the servers with the contract: one list of checks behind the start of a service, its comparison every
//! minute, and `doctor`. What is required of each server stands beside its client, in `kafka`, `stock` and `repo`.

mod rights;
mod watch;

use serde::{Deserialize, Serialize};

use crate::{
    kafka::{Broker, Topic},
    repo::{Database, RepoError, schema::Schema},
    runtime::{SettingsError, chain, doctor, within},
    stock::Stock,
};

pub use crate::clause::{Breach, Departure};
pub use rights::rights;
pub use watch::Watch;

/// Kafka, as findings and gauges name it.
pub const KAFKA: &str = "kafka";
/// Redis, as findings and gauges name it.
pub const REDIS: &str = "redis";
/// PostgreSQL, as findings and gauges name it.
pub const POSTGRESQL: &str = "postgresql";

/// The `[contract]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContractSettings {
    /// How often a running service asks, in ms.
    pub every_ms: u64,
}

impl ContractSettings {
    /// Tests what the types cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("contract.every_ms", self.every_ms, 500..=3_600_000, "ms")
    }
}

/// The servers of a service.
#[derive(Clone)]
pub struct Contract {
    /// The brokers.
    pub broker: Broker,
    /// The topics that the service reads and writes.
    pub topics: Vec<Topic>,
    /// Redis, if the service uses it.
    pub stock: Option<Stock>,
    /// PostgreSQL.
    pub database: Database,
    /// The servers without which the service cannot do its part. A breach by any other server does not make it unready.
    pub needs: &'static [&'static str],
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractFinding {
    /// The server.
    pub server: &'static str,
    /// What was checked, in a few words: `kafka topic coupon-issued`.
    pub name: String,
    /// What was found.
    pub state: State,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The contract is kept; with what was found.
    Fine(String),
    /// The contract is not kept.
    Departs(Departure),
    /// No answer: an outage, or something not created yet. Whether the contract is kept is unknown.
    Away(Departure),
}

impl Contract {
    /// Checks all servers at once.
    pub async fn findings(&self) -> Vec<ContractFinding> {
        let topics = async {
            let mut findings = Vec::new();
            for required in &self.topics {
                findings.extend(topic(&self.broker, required).await);
            }
            findings
        };
        let stock = async {
            match &self.stock {
                Some(stock) => redis(stock).await,
                None => Vec::new(),
            }
        };
        let (redis, topics, database) = tokio::join!(stock, topics, database(&self.database));
        [redis, topics, database].concat()
    }

    fn servers(&self) -> impl Iterator<Item = &'static str> {
        [Some(KAFKA), self.stock.is_some().then_some(REDIS), Some(POSTGRESQL)].into_iter().flatten()
    }
}

/// Checks one topic.
pub async fn topic(broker: &Broker, required: &Topic) -> Vec<ContractFinding> {
    let name = format!("kafka topic {}", required.name);
    let away = |what: String, fix: String| vec![ContractFinding::away(KAFKA, &name, what, fix)];
    match broker.topic(required).await {
        Err(error) => {
            let (what, fix) = error.what_and_fix();
            away(what, fix)
        }
        Ok(None) => away(
            format!("topic `{}` does not exist on the brokers", required.name),
            format!("create it, or set {} to another", required.setting),
        ),
        Ok(Some(found)) if found.partitions < required.min_partitions => away(
            format!(
                "it has {} partitions and kafka.min_partitions asks for {}",
                found.partitions, required.min_partitions
            ),
            "add partitions, or lower the setting".to_owned(),
        ),
        Ok(Some(found)) => {
            let mut seen = format!("{} partitions", found.partitions);
            if !found.are_settings_known {
                seen.push_str("; its settings cannot be asked for with kafka.oauth, so compare them yourself");
            }
            ContractFinding::all(KAFKA, &name, seen, found.departures)
        }
    }
}

/// Checks Redis: its settings, and whether it takes writes.
pub async fn redis(stock: &Stock) -> Vec<ContractFinding> {
    match stock.departures().await {
        Err(error) => {
            vec![ContractFinding::away(REDIS, REDIS, chain(&error).to_string(), error.advice().to_owned())]
        }
        Ok(mut departures) => {
            let is_broken = departures.iter().any(|departure| departure.breach >= Breach::Breaks);
            // A replica says more of itself than the write that it refuses.
            if !is_broken && let Err(error) = stock.probe().await {
                if error.is_full() {
                    departures.push(Departure::new(
                        Breach::Weakens,
                        "it is full: it takes no reservations, and only holders are answered",
                        "raise maxmemory, or archive campaigns that are over",
                    ));
                    return ContractFinding::all(REDIS, REDIS, String::new(), departures);
                }
                let fix = error.advice().to_owned();
                return vec![ContractFinding::away(REDIS, REDIS, chain(&error).to_string(), fix)];
            }
            ContractFinding::all(
                REDIS,
                REDIS,
                "takes writes, evicts nothing, keeps an append-only file".to_owned(),
                departures,
            )
        }
    }
}

/// Checks PostgreSQL: its schema, its settings and those of the session, and whether a write commits.
pub async fn database(database: &Database) -> Vec<ContractFinding> {
    let away = |what: String, fix: &str| vec![ContractFinding::away(POSTGRESQL, POSTGRESQL, what, fix.to_owned())];
    let schema = match database.schema().await {
        Err(error) => return away(chain(&error).to_string(), error.remedy()),
        Ok(schema) => schema,
    };
    let breach = match schema {
        Schema::Fits { .. } => None,
        Schema::TooOld { .. } => Some(Breach::Breaks),
        Schema::TooNew { .. } | Schema::Edited { .. } => Some(Breach::Ends),
    };
    if let Some(breach) = breach {
        let departure =
            Departure::new(breach, schema.to_string(), "run `issue-consumer migrate`, or deploy a build that fits");
        return ContractFinding::all(POSTGRESQL, POSTGRESQL, String::new(), vec![departure]);
    }
    let departures = match database.departures().await {
        Err(error) => return away(chain(&error).to_string(), error.remedy()),
        Ok(departures) => departures,
    };
    let is_broken = departures.iter().any(|departure| departure.breach >= Breach::Breaks);
    // A standby is no outage: what it says of itself tells more than the write that it refuses.
    if !is_broken && let Err(error) = database.commits().await {
        let fix = match &error {
            RepoError::NoConnection { .. } => error.remedy(),
            _ => "use a primary with free disk, and a role that may write",
        };
        return away(chain(&error).to_string(), fix);
    }
    ContractFinding::all(POSTGRESQL, POSTGRESQL, format!("{schema}, writes commit"), departures)
}

impl ContractFinding {
    /// The breach that was found; `None` when the contract is kept.
    pub fn breach(&self) -> Option<Breach> {
        match &self.state {
            State::Fine(_) => None,
            State::Departs(departure) | State::Away(departure) => Some(departure.breach),
        }
    }

    fn away(server: &'static str, name: &str, what: String, fix: String) -> Self {
        // A server that is away keeps a service from starting.
        Self { server, name: name.to_owned(), state: State::Away(Departure::new(Breach::Breaks, what, fix)) }
    }

    /// One finding for each departure; without departures one that says what was seen.
    fn all(server: &'static str, name: &str, seen: String, departures: Vec<Departure>) -> Vec<Self> {
        let finding = |state| Self { server, name: name.to_owned(), state };
        if departures.is_empty() {
            return vec![finding(State::Fine(seen))];
        }
        departures.into_iter().map(State::Departs).map(finding).collect()
    }
}

impl std::fmt::Display for ContractFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.state {
            State::Fine(seen) => write!(f, "{}: {seen}", self.name),
            State::Departs(Departure { what, fix, .. }) => write!(f, "{}: {what}; {fix}", self.name),
            State::Away(Departure { what, fix, .. }) => {
                write!(f, "waiting for {}: {what}; {fix}", self.server)
            }
        }
    }
}

impl From<ContractFinding> for doctor::Finding {
    fn from(finding: ContractFinding) -> Self {
        match finding.state {
            State::Fine(seen) => Self::ok(finding.name, seen),
            State::Departs(Departure { what, fix, breach: Breach::Weakens }) => Self::warn(finding.name, what, fix),
            State::Departs(Departure { what, fix, .. }) | State::Away(Departure { what, fix, .. }) => {
                Self::fail(finding.name, what, fix)
            }
        }
    }
}
