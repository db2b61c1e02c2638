//! Running `coupon-bench`, and looking at what it has left behind.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use coupon_e2e::{servers::Servers, wait::eventually};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use redis::Commands;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::{
    process::Command,
    sync::{Mutex, MutexGuard},
};

/// Longest time anything here may take.
pub const SOON: Duration = Duration::from_mins(1);

/// The settings of Redis and its logical databases 1 to 15 are looked at, which only one test at a time may change.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The servers as they were before, and a folder.
pub struct Bench {
    pub servers: Servers,
    pub folder: TempDir,
    before: Traces,
    _alone: MutexGuard<'static, ()>,
}

/// What a run may leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Traces {
    databases: Vec<String>,
    topics: Vec<String>,
    /// Owner of each logical database that has one.
    owners: Vec<(u16, String)>,
    settings: Vec<String>,
}

/// How a run ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub async fn new() -> Result<Self> {
        let alone = ALONE.lock().await;
        let servers = Servers::from_env()?;
        let before = traces(&servers).await?;
        Ok(Self { servers, folder: tempfile::tempdir()?, before, _alone: alone })
    }

    /// A program in the place of `dlq-consumer`.
    pub fn program(&self, script: &str) -> Result<PathBuf> {
        let path = self.folder.path().join("dlq-consumer");
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// A run about to start.
    pub fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coupon-bench"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub async fn run(arguments: &[&str]) -> Result<Ended> {
        ended(Self::command(arguments).output()).await
    }

    /// Waits until the servers are as they were.
    pub async fn is_as_before(&self) -> Result<()> {
        eventually("nothing is left behind", SOON, async || -> Result<bool> {
            let now = traces(&self.servers).await?;
            anyhow::ensure!(now == self.before, "{now:?} instead of {:?}", self.before);
            Ok(true)
        })
        .await
    }
}

/// What came out of a run.
pub async fn ended(output: impl Future<Output = std::io::Result<std::process::Output>>) -> Result<Ended> {
    let output = tokio::time::timeout(SOON, output).await.context("coupon-bench does not end")??;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

async fn traces(servers: &Servers) -> Result<Traces> {
    let mut database = PgConnection::connect(&servers.database_url).await?;
    let databases = "SELECT datname::text FROM pg_database WHERE datname LIKE 'coupon\\_bench\\_%' ORDER BY 1";
    let databases = sqlx::query_scalar(databases).fetch_all(&mut database).await?;
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &servers.kafka_brokers).create()?;
    let metadata = consumer.fetch_metadata(None, SOON)?;
    let topics = metadata.topics().iter().map(|topic| topic.name().to_owned());
    let mut topics: Vec<String> = topics.filter(|name| name.starts_with("coupon-bench-")).collect();
    topics.sort();
    let mut owners = Vec::new();
    let mut settings = Vec::new();
    for number in 1..=15 {
        let mut redis = redis::Client::open(servers.redis(number)?)?.get_connection()?;
        let owner: Option<String> = redis.hget("coupon-bench", "owner")?;
        owners.extend(owner.map(|owner| (number, owner)));
        for name in ["slowlog-log-slower-than", "slowlog-max-len", "latency-monitor-threshold"] {
            settings.extend(redis::cmd("CONFIG").arg("GET").arg(name).query::<Vec<String>>(&mut redis)?);
        }
    }
    Ok(Traces { databases, topics, owners, settings })
}
