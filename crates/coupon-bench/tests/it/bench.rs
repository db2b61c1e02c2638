//! Running `coupon-bench`, and looking at what it has left behind.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use coupon_e2e::servers::Servers;
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

/// The settings of Redis are looked at, which only one test at a time may change.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The servers as they were before, and a folder.
pub struct Bench {
    pub servers: Servers,
    pub folder: TempDir,
    settings: Vec<String>,
    _alone: MutexGuard<'static, ()>,
}

/// Exit code and output of a run.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    pub async fn new() -> Result<Self> {
        let alone = ALONE.lock().await;
        let servers = Servers::from_env()?;
        let settings = settings(&servers)?;
        Ok(Self { servers, folder: tempfile::tempdir()?, settings, _alone: alone })
    }

    /// Writes a shell script that stands in for `dlq-consumer`; returns its path.
    pub fn program(&self, script: &str) -> Result<PathBuf> {
        let path = self.folder.path().join("dlq-consumer");
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Returns a command that is ready to run.
    pub fn command(arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coupon-bench"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs `coupon-bench` with these arguments to its end.
    pub async fn run(arguments: &[&str]) -> Result<Ended> {
        ended(Self::command(arguments).output()).await
    }

    /// Whether the servers are as they were before this run: nothing of its worlds is there, and Redis has its settings.
    pub async fn is_as_before(&self, run: &Ended) -> Result<()> {
        ensure!(!run.stderr.contains("left behind"), "{}", run.stderr);
        let said = run.stderr.split("working in the world of it-").skip(1);
        let worlds: Vec<String> = said.filter_map(|rest| Some(rest.split_once('.')?.0.to_owned())).collect();
        let left = left_of(&worlds, &self.servers).await?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        let settings = settings(&self.servers)?;
        ensure!(settings == self.settings, "{settings:?} instead of {:?}", self.settings);
        Ok(())
    }
}

/// Waits for a run and returns its exit code and output.
pub async fn ended(output: impl Future<Output = std::io::Result<std::process::Output>>) -> Result<Ended> {
    let output = tokio::time::timeout(SOON, output).await.context("coupon-bench does not end")??;
    Ok(Ended {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Settings of Redis that a run changes while it measures.
fn settings(servers: &Servers) -> Result<Vec<String>> {
    let mut redis = redis::Client::open(servers.redis(0)?)?.get_connection()?;
    let mut settings = Vec::new();
    for name in ["slowlog-log-slower-than", "slowlog-max-len", "latency-monitor-threshold"] {
        settings.extend(redis::cmd("CONFIG").arg("GET").arg(name).query::<Vec<String>>(&mut redis)?);
    }
    Ok(settings)
}

/// What is still there of the worlds with these ids: databases, topics and claims on a logical database of Redis.
async fn left_of(worlds: &[String], servers: &Servers) -> Result<Vec<String>> {
    let mut database = PgConnection::connect(&servers.database_url).await?;
    let mut left: Vec<String> =
        sqlx::query_scalar("SELECT datname::text FROM pg_database").fetch_all(&mut database).await?;
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &servers.kafka_brokers).create()?;
    let metadata = consumer.fetch_metadata(None, SOON)?;
    left.extend(metadata.topics().iter().map(|topic| topic.name().to_owned()));
    let mut redis = redis::Client::open(servers.redis(0)?)?.get_connection()?;
    let claims: Vec<String> = redis.keys("it:claim:*")?;
    for claim in claims {
        left.extend(redis.get::<_, Option<String>>(claim)?);
    }
    left.retain(|name| worlds.iter().any(|world| name.contains(world)));
    Ok(left)
}
