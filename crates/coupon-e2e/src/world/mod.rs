//! Everything one test needs for itself, so that tests run side by side on shared servers.

mod claim;
mod clean;
mod database;
mod owner;
mod settings;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jsonwebtoken::Algorithm;
use sqlx::{PgPool, postgres::PgPoolOptions};
use tempfile::TempDir;

use self::claim::Claim;
use crate::{
    answers::AnswerLog,
    kafka::{self, Topic},
    member::{Member, token::Signer},
    oracle::{Evidence, Kind, Sources, Verdict, verdict},
    process::{
        Process,
        command::{Command, Output},
        launch::Launch,
    },
    report,
    servers::Servers,
    stock::Stock,
    wait::eventually,
};

/// Name of the file with what tokens are verified by.
const KEY_FILE: &str = "token.key";

/// A database, a Redis, topics, consumer groups and a signing secret of one test. Dropping it removes them all.
#[derive(Debug)]
pub struct World {
    /// The world's own database.
    pub db: PgPool,
    /// The world's own Redis data.
    pub stock: Stock,
    /// The world's main topic.
    pub topic: Topic,
    /// The world's dead letter topic.
    pub dlq: Topic,
    /// The world's topic of decisions, where they are published; it need not exist.
    pub decisions: Option<Topic>,
    /// Signs tokens as the identity provider would.
    pub signer: Signer,
    /// Every answer that a member of this world got.
    pub answers: AnswerLog,
    /// `postgres://…` of the world's own database.
    pub database_url: String,
    /// `redis://…` of the world's own logical database.
    pub redis_url: String,
    /// Settings of `[redis]` of each process, such as `("sentinel.master", …)`.
    pub redis_settings: Vec<(&'static str, String)>,
    /// Settings of every process, such as `("database.ca_file", …)`.
    pub settings: Vec<(&'static str, String)>,
    files: TempDir,
    claim: Claim,
    servers: Servers,
}

/// Servers and topics of a world that is to be made.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where.
    pub servers: Servers,
    /// Partitions of the main topic.
    pub partitions: i32,
    /// Partitions of the dead letter topic.
    pub dlq_partitions: i32,
    /// Algorithm that the tokens of members are signed with: HS256, RS256, ES256 or `EdDSA`.
    pub algorithm: Algorithm,
}

impl Setup {
    /// On these servers, with a few partitions each.
    pub fn on(servers: &Servers) -> Self {
        Self { servers: servers.clone(), partitions: 4, dlq_partitions: 2, algorithm: Algorithm::HS256 }
    }
}

impl World {
    /// Makes a world on the servers that the environment names.
    pub async fn new() -> Result<Self> {
        Self::with(Setup::on(&Servers::from_env()?)).await
    }

    /// The same with one partition to each topic, so that every record stands in one line.
    pub async fn in_line() -> Result<Self> {
        Self::with(Setup { partitions: 1, dlq_partitions: 1, ..Setup::on(&Servers::from_env()?) }).await
    }

    /// Makes a world to measure.
    pub async fn with(setup: Setup) -> Result<Self> {
        clean::behind_killed_runs(&setup.servers).await?;
        let claim = Claim::take(&setup.servers)?;
        // What is made before a failure is removed: the sweep finds nothing of a claim whose process lives.
        let servers = setup.servers.clone();
        Self::furnish(claim.clone(), setup).await.inspect_err(|_| clean::everything_of_blocking(&claim, &servers))
    }

    async fn furnish(claim: Claim, setup: Setup) -> Result<Self> {
        let Setup { servers, partitions, dlq_partitions, algorithm } = setup;
        let files = tempfile::tempdir()?;
        let signer = Signer::new_of_world().signing_with(algorithm)?;
        std::fs::write(files.path().join(KEY_FILE), signer.verifies_by())?;
        let redis_url = servers.redis(claim.redis_index)?;
        let stock = Stock::connect(&redis_url).await?;
        database::create(&claim, &servers).await?;
        let database_url = servers.database(&claim.database())?;
        let db = PgPoolOptions::new().max_connections(4).connect(&database_url).await?;
        let topic = Topic::new(&servers.kafka_brokers, &format!("{}.coupon-issued", claim.prefix()));
        let dlq = Topic::new(&servers.kafka_brokers, &format!("{}.coupon-issued.DLQ", claim.prefix()));
        topic.create(partitions, &[]).await?;
        dlq.create(dlq_partitions, kafka::DLQ_SETTINGS).await?;
        let answers = AnswerLog::default();
        Ok(Self {
            db,
            stock,
            topic,
            dlq,
            decisions: None,
            signer,
            answers,
            database_url,
            redis_url,
            redis_settings: Vec::new(),
            settings: Vec::new(),
            files,
            claim,
            servers,
        })
    }

    /// The same world with new connections of its own, after a server was gone.
    pub async fn reconnected(mut self) -> Result<Self> {
        self.stock = Stock::connect(&self.redis_url).await?;
        self.db = PgPoolOptions::new().max_connections(4).connect(&self.database_url).await?;
        Ok(self)
    }

    /// An `issuer-api serve`.
    pub fn start_api(&self) -> Launch {
        self.launch("issuer-api", "serve")
    }

    /// An `issue-consumer run`.
    pub fn start_issue_consumer(&self) -> Launch {
        self.launch("issue-consumer", "run")
    }

    /// A `dlq-consumer run`.
    pub fn start_dlq_consumer(&self) -> Launch {
        self.launch("dlq-consumer", "run")
    }

    fn launch(&self, binary: &'static str, verb: &'static str) -> Launch {
        let launch = Launch::new(binary, verb, self.folder().join(format!("{binary}.log")));
        let launch = self.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        let launch = self.redis_environment().fold(launch, |launch, (name, value)| launch.env(&name, value));
        self.settings_of(binary).into_iter().fold(launch, |launch, (key, value)| launch.set(&key, value))
    }

    /// Runs a one-shot command with the world's settings, such as `run("issuer-api", &["coupon", "list"])`.
    pub async fn run(&self, binary: &str, arguments: &[&str]) -> Result<Output> {
        self.run_with(binary, arguments, &[]).await
    }

    /// The same with further environment variables.
    pub async fn run_with(&self, binary: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
        let sets = self
            .settings_of(binary)
            .into_iter()
            .flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
        let sets: Vec<String> = sets.collect();
        let all: Vec<&str> = sets.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
        let command = Command::new(binary, &all)?;
        // The administrator of campaigns has a login name; each test names the operator who repairs.
        let command = if binary == "issuer-api" { command.env("USER", "e2e") } else { command };
        let command = self.environment().into_iter().fold(command, |command, (name, value)| command.env(name, value));
        let command = self.redis_environment().fold(command, |command, (name, value)| command.env(&name, value));
        let command = variables.iter().fold(command, |command, (name, value)| command.env(name, value));
        command.run().await
    }

    /// A member with a good token who asks this process.
    pub fn member(&self, api: &Process, id: &str) -> Result<Member> {
        let token = self.signer.token(id).sign()?;
        Member::new(id, &token, api.http_url()?, self.answers.clone())
    }

    /// Waits until every promise holds, but for the violations that a test has made itself, and returns the verdict. Fails
    /// with the other violations if they stay.
    pub async fn quiet(&self, within: Duration, expected: &[Kind]) -> Result<Verdict> {
        let started = Instant::now();
        let rest = eventually("every promise holds", within, async || -> Result<_> {
            let evidence = self.evidence().await?;
            let verdict = verdict(&evidence);
            verdict.must_hold_except(expected)?;
            Ok(Some((evidence, verdict)))
        });
        let (evidence, verdict) = rest.await?;
        report::append(&evidence, &verdict, started.elapsed());
        Ok(verdict)
    }

    /// What the oracle says about everything in this world as it is now.
    pub async fn verdict(&self) -> Result<Verdict> {
        Ok(verdict(&self.evidence().await?))
    }

    async fn evidence(&self) -> Result<Evidence> {
        self.sources().collect(None).await.context("the oracle could not read everything")
    }

    /// Returns the sources of the oracle of this world.
    pub fn sources(&self) -> Sources {
        Sources {
            db: self.db.clone(),
            stock: self.stock.clone(),
            topic: self.topic.clone(),
            dlq: self.dlq.clone(),
            decisions: self.decisions.clone(),
            groups: Some((self.group_of("issue-consumer"), self.group_of("dlq-consumer"))),
            answers: self.answers.read(),
        }
    }

    /// The consumer group of a service in this world.
    pub fn group_of(&self, binary: &str) -> String {
        format!("{}.{binary}", self.claim.prefix())
    }

    /// Folder of the world's log files and of its secret.
    pub fn folder(&self) -> &Path {
        self.files.path()
    }

    /// File with what tokens of this world are verified by: a secret, or a public key.
    pub fn secret_file(&self) -> PathBuf {
        self.folder().join(KEY_FILE)
    }

    /// Addresses of the servers, as each process of this world gets them.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("DATABASE_URL", self.database_url.clone()),
            ("REDIS_URL", self.redis_url.clone()),
            ("KAFKA_BROKERS", self.servers.kafka_brokers.clone()),
            ("RUST_BACKTRACE", "1".to_owned()),
        ]
    }

    /// `redis_settings` as variables of the two services that have them.
    fn redis_environment(&self) -> impl Iterator<Item = (String, &str)> {
        self.redis_settings.iter().flat_map(|(key, value)| {
            let key = key.to_uppercase().replace('.', "__");
            ["ISSUER_API", "DLQ_CONSUMER"].map(|binary| (format!("{binary}__REDIS__{key}"), value.as_str()))
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        clean::everything_of_blocking(&self.claim, &self.servers);
    }
}
