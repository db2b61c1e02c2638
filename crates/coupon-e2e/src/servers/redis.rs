//! Redis processes of one test alone, started with whatever arguments it needs: TLS, users, Sentinels, nodes of a cluster.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use redis::{FromRedisValue, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::{
    process::{ports, signal},
    wait::eventually,
};

/// Longest time until a server answers.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// A `redis-server`. It ends, and its data is deleted, when this value is dropped.
#[derive(Debug)]
pub struct OwnRedis {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl OwnRedis {
    /// Starts a server that evicts nothing and keeps an append-only file, and waits until it answers.
    pub async fn start(arguments: &[&str]) -> Result<Self> {
        let base = ["--databases", "1024", "--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"];
        Self::spawn(None, &[&base[..], arguments].concat()).await
    }

    /// Starts a server that follows another one, and waits until it has everything.
    pub async fn following(master: &OwnRedis, arguments: &[&str]) -> Result<Self> {
        let port = master.port.to_string();
        let base = ["--replicaof", "127.0.0.1", port.as_str()];
        let replica = Self::start(&[&base[..], arguments].concat()).await?;
        eventually("the replica has everything", ANSWERS_WITHIN, async || -> Result<bool> {
            let info: String = replica.ask(&["INFO", "replication"]).await?;
            Ok(info.contains("master_link_status:up"))
        })
        .await?;
        Ok(replica)
    }

    /// Starts three Sentinels with this password, which watch a master under the name `coupon` and replace it after a second.
    pub async fn sentinels(master: &OwnRedis, password: &str) -> Result<Vec<Self>> {
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let watched = master.port;
            let config = format!(
                "requirepass {password}\nsentinel sentinel-pass {password}\nsentinel monitor coupon 127.0.0.1 {watched} 2\n\
                 sentinel down-after-milliseconds coupon 1000\nsentinel failover-timeout coupon 6000\n"
            );
            sentinels.push(Self::spawn(Some(&config), &["--sentinel"]).await?);
        }
        let known = |info: &str| info.contains("slaves=1") && info.contains("sentinels=3");
        for sentinel in &sentinels {
            eventually("the Sentinels know each other and the replica", ANSWERS_WITHIN, async || -> Result<bool> {
                let url = format!("redis://:{password}@127.0.0.1:{}", sentinel.port);
                let mut raw = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
                Ok(known(&redis::cmd("INFO").arg("sentinel").query_async::<String>(&mut raw).await?))
            })
            .await?;
        }
        Ok(sentinels)
    }

    /// Starts a cluster of so many masters, each with `replicas`, and waits until every slot is served.
    pub async fn cluster(masters: usize, replicas: usize) -> Result<Vec<Self>> {
        let mut nodes = Vec::new();
        for _ in 0..masters * (1 + replicas) {
            nodes.push(Self::start_node().await?);
        }
        let addresses: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let replicas = replicas.to_string();
        let output = tokio::process::Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&addresses)
            .args(["--cluster-replicas", &replicas, "--cluster-yes"])
            .output()
            .await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        for node in &nodes {
            eventually("the cluster is whole", ANSWERS_WITHIN, async || -> Result<bool> {
                let info: String = node.ask(&["CLUSTER", "INFO"]).await?;
                let nodes: String = node.ask(&["CLUSTER", "NODES"]).await?;
                let slaves = nodes.lines().filter(|line| line.contains("slave")).count();
                Ok(info.contains("cluster_state:ok") && slaves == addresses.len() - masters)
            })
            .await?;
        }
        Ok(nodes)
    }

    async fn start_node() -> Result<Self> {
        Self::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--repl-diskless-sync-delay", "0"])
            .await
    }

    async fn spawn(config: Option<&str>, arguments: &[&str]) -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, ports::free_for_a_node()?);
        let mut command = Command::new("redis-server");
        if let Some(config) = config {
            let file = folder.path().join("redis.conf");
            std::fs::write(&file, config)?;
            command.arg(file);
        }
        let child = command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"])
            .arg(folder.path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server does not start")?;
        let server = Self { child, port, folder };
        eventually("redis-server listens", ANSWERS_WITHIN, async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await?;
        Ok(server)
    }

    /// The plain port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of its first database.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Folder of its data, for files that a test lays beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Sends a command to it as the default user.
    pub async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> Result<T> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        Ok(command.query_async(&mut self.connect().await?).await?)
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&self) -> Result<()> {
        signal::send("KILL", self.child.id())
    }

    /// Lets it hang, with all its connections (SIGSTOP).
    pub fn hang(&self) -> Result<()> {
        signal::send("STOP", self.child.id())
    }

    async fn connect(&self) -> Result<MultiplexedConnection> {
        Ok(redis::Client::open(self.url())?.get_multiplexed_async_connection().await?)
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
