//! A replica of a Redis, which can lag and then be promoted.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::{process::ports, proxy::Proxy, servers::address_of, wait::eventually};

/// A first copy waits five seconds for other replicas to join it (`repl-diskless-sync-delay`).
const SYNCED_WITHIN: Duration = Duration::from_secs(30);

/// A `redis-server` that follows another one. It ends, and its data is deleted, when this value is dropped.
#[derive(Debug)]
pub struct Replica {
    child: Child,
    url: String,
    _folder: TempDir,
}

impl Replica {
    /// Starts it and waits until it has everything of the primary, which it reaches through `way`.
    pub async fn following(way: &Proxy) -> Result<Self> {
        let (folder, port, primary) = (tempfile::tempdir()?, ports::free()?, way.address());
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--databases", "1024"])
            .args(["--replicaof", &primary.ip().to_string(), &primary.port().to_string()])
            .args(["--save", "", "--maxmemory-policy", "noeviction"])
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server does not start")?;
        let replica = Self { child, url: format!("redis://127.0.0.1:{port}/0"), _folder: folder };
        eventually("the replica has everything", SYNCED_WITHIN, async || -> Result<bool> {
            let replication: String =
                redis::cmd("INFO").arg("replication").query_async(&mut replica.connect().await?).await?;
            Ok(replication.contains("master_link_status:up"))
        })
        .await?;
        Ok(replica)
    }

    /// Starts a server alone, as the one node of a cluster.
    pub async fn of_a_cluster() -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, ports::free_for_a_node()?);
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--cluster-enabled", "yes"])
            .args(["--save", "", "--appendonly", "yes", "--maxmemory-policy", "noeviction"])
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server does not start")?;
        let server = Self { child, url: format!("redis://127.0.0.1:{port}/0"), _folder: folder };
        eventually("it answers", SYNCED_WITHIN, async || server.connect().await.is_ok()).await?;
        Ok(server)
    }

    /// Returns the URL of the replica.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Makes it a primary, with what it has.
    pub async fn promote(&self) -> Result<()> {
        Ok(redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut self.connect().await?).await?)
    }

    /// Makes the server of `url`, which it has followed, its replica. Whoever is connected to that one stays connected.
    pub async fn demote(&self, url: &str) -> Result<()> {
        let own = address_of(&self.url).await?;
        let mut demoted = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd("REPLICAOF");
        Ok(command.arg(own.ip().to_string()).arg(own.port()).query_async(&mut demoted).await?)
    }

    /// The URL of a logical database of it: the one of `url`.
    pub async fn url_like(&self, url: &str) -> Result<String> {
        super::with_address(url, address_of(&self.url).await?)
    }

    async fn connect(&self) -> Result<MultiplexedConnection> {
        Ok(redis::Client::open(self.url.as_str())?.get_multiplexed_async_connection().await?)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
