//! `doctor`: what is wrong with the dependencies, and how to put it right.

use std::{process::ExitCode, time::Duration};

use coupon_core::{
    contract::{self, Contract, ContractFinding, rights},
    kafka::{Broker, ConsumerProgress, Right},
    repo::{Database, Rehearsal},
    runtime::doctor::{self, Finding},
    stock::Stock,
};

use crate::{alarm, config::Config, webhooks};

/// How long one group of checks may take on the command line, where somebody waits for the brokers' own words.
const PATIENCE: Duration = Duration::from_mins(1);

/// The servers as `doctor` asks them, over clients that are made once.
pub struct Doctor {
    contract: Contract,
    /// How far both groups have come: what `reconcile` and `rebuild` stand on.
    groups: Vec<ConsumerProgress>,
    config: Config,
}

impl Doctor {
    /// Makes the clients; they connect when they are first asked.
    pub fn new(config: &Config, database: Database, stock: Stock, service: &str) -> anyhow::Result<Self> {
        let (client, kafka) = (config.kafka.client(), &config.kafka);
        let contract = Contract {
            broker: Broker::new(&client, service)?,
            topics: kafka.topics().into_iter().chain(config.decisions.topics()).collect(),
            stock: Some(stock),
            database: database.rehearsing(Rehearsal::Decisions),
            needs: &[],
        };
        let groups = [(&kafka.topic, &kafka.issue_group_id), (&kafka.dlq_topic, &kafka.group_id)];
        let groups = groups.into_iter().map(|(topic, group)| ConsumerProgress::new(&client, service, topic, group));
        Ok(Self { contract, groups: groups.collect::<Result<_, _>>()?, config: config.clone() })
    }

    /// Checks everything at once. A group of checks that takes longer than `bound` is a finding of its own.
    pub async fn findings(&self, bound: Duration) -> Vec<Finding> {
        let Contract { broker, topics, stock, database, .. } = &self.contract;
        let (redis, kafka, postgresql, groups, rights, assertions) = tokio::join!(
            within(bound, "redis", async {
                match stock {
                    Some(stock) => all(contract::redis(stock).await),
                    None => Vec::new(),
                }
            }),
            within(bound, "kafka", async {
                let mut findings = Vec::new();
                for topic in topics {
                    findings.extend(all(contract::topic(broker, topic).await));
                }
                findings
            }),
            within(bound, "postgresql", async { all(contract::database(database).await) }),
            within(bound, "kafka groups", self.groups()),
            within(bound, "kafka rights", self.rights()),
            within(bound, "console.assertion", async { assertions(&self.config).await.into_iter().collect() }),
        );
        let settings = [self.config.events.finding()];
        let alarms = [alarm::finding(&self.config.alarms), webhooks::finding(&self.config.webhooks)];
        settings
            .into_iter()
            .chain(redis)
            .chain(kafka)
            .chain(postgresql)
            .chain(groups)
            .chain(rights)
            .chain(alarms)
            .chain(assertions)
            .collect()
    }

    async fn groups(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for progress in &self.groups {
            let (topic, name) = (progress.topic(), format!("kafka group {}", progress.group()));
            findings.push(match progress.check_rights().await {
                Ok(behind) => Finding::ok(name, format!("{behind} records of {topic} before it")),
                Err(error) => {
                    let (what, fix) = error.what_and_fix();
                    let what =
                        format!("reconcile and rebuild have to read {topic} and describe it and the group: {what}");
                    Finding::fail(name, what, fix)
                }
            });
        }
        findings
    }

    async fn rights(&self) -> Vec<Finding> {
        let kafka = &self.config.kafka;
        let mut wanted = vec![Right::Consume { topic: kafka.dlq_topic.clone(), group: kafka.group_id.clone() }];
        wanted.extend(self.config.decisions.topics().map(|topic| Right::Publish { topic: topic.name }));
        rights(&self.contract.broker, &wanted).await
    }
}

fn all(findings: Vec<ContractFinding>) -> Vec<Finding> {
    findings.into_iter().map(Into::into).collect()
}

async fn within(bound: Duration, name: &str, findings: impl Future<Output = Vec<Finding>>) -> Vec<Finding> {
    tokio::time::timeout(bound, findings).await.unwrap_or_else(|_| {
        let what = format!("does not answer within {} s", bound.as_secs());
        vec![Finding::fail(name, what, "see whether it runs and is reached from here, then ask again")]
    })
}

/// Whether the keys are there by which operators of the console are vouched for; `None`: nobody vouches for them.
async fn assertions(config: &Config) -> Option<Finding> {
    let name = "console.assertion";
    match config.console.assertion.verifier() {
        Ok(None) => None,
        Err(error) => {
            let fix = "correct the section; without it `run` refuses to start";
            Some(Finding::fail(name, error.to_string(), fix))
        }
        Ok(Some(verifier)) => Some(match verifier.ask_issuer().await {
            Ok(()) => Finding::ok(name, format!("{} keys vouch for operators", verifier.keys().len())),
            Err(reason) => Finding::warn(name, reason, "operators may be unable to log in; records are consumed"),
        }),
    }
}

/// Prints one line for each finding; exit code 1 when anything is wrong.
pub async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let database = Database::new(&config.database, "dlq-consumer doctor")?;
    let doctor = Doctor::new(config, database, Stock::new(&config.redis)?, "dlq-consumer doctor")?;
    Ok(doctor::print(Box::pin(doctor.findings(PATIENCE)).await))
}
