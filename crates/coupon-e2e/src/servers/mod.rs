//! The shared servers, as the environment names them.

pub mod brokers;
pub mod cache;
pub mod certificates;
pub mod encrypted;
pub mod private;
pub mod redis;
pub mod replica;
pub mod standby;
pub mod token_server;

use std::{env, net::SocketAddr};

use anyhow::{Context, Result, anyhow};
use reqwest::Url;

/// Addresses of PostgreSQL, Redis and Kafka.
#[derive(Clone, Debug)]
pub struct Servers {
    /// `postgres://user:password@host:port/database`; the role may create databases.
    pub database_url: String,
    /// `redis://host:port/number`.
    pub redis_url: String,
    /// `host:port`, comma separated.
    pub kafka_brokers: String,
}

impl Servers {
    /// Reads `DATABASE_URL`, `REDIS_URL` and `KAFKA_BROKERS`.
    pub fn from_env() -> Result<Self> {
        Ok(Self {
            database_url: variable("DATABASE_URL")?,
            redis_url: variable("REDIS_URL")?,
            kafka_brokers: variable("KAFKA_BROKERS")?,
        })
    }

    /// The same PostgreSQL, another database.
    pub fn database(&self, name: &str) -> Result<String> {
        with_path(&self.database_url, name)
    }

    /// The same Redis, another logical database.
    pub fn redis(&self, index: u16) -> Result<String> {
        with_path(&self.redis_url, &index.to_string())
    }
}

/// An environment variable, or a sentence that says how to get it.
pub fn variable(name: &str) -> Result<String> {
    env::var(name).with_context(|| {
        format!(
            "{name} is not set; start the servers with `scripts/stack up servers`, then `eval \"$(scripts/stack env)\"`"
        )
    })
}

/// The address a URL points to.
pub async fn address_of(url: &str) -> Result<SocketAddr> {
    let url = Url::parse(url)?;
    let host = url.host_str().context("the URL has no host")?.to_owned();
    let port = url.port().context("the URL has no port")?;
    let mut found = tokio::net::lookup_host((host.as_str(), port)).await?;
    found.next().with_context(|| format!("{host} has no address"))
}

/// The URL with another host and port.
pub fn with_address(url: &str, address: SocketAddr) -> Result<String> {
    let mut url = Url::parse(url)?;
    url.set_ip_host(address.ip()).map_err(|()| anyhow!("{url} takes no host"))?;
    url.set_port(Some(address.port())).map_err(|()| anyhow!("{url} takes no port"))?;
    Ok(url.into())
}

fn with_path(url: &str, path: &str) -> Result<String> {
    let mut url = Url::parse(url).with_context(|| format!("{url} is no URL"))?;
    url.set_path(path);
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_all_but_what_is_replaced() {
        let url = "postgres://role:secret@localhost:5432/one?sslmode=disable";
        assert_eq!(with_path(url, "two").expect("a URL"), "postgres://role:secret@localhost:5432/two?sslmode=disable");
        let address = "127.0.0.1:9".parse().expect("an address");
        assert_eq!(
            with_address(url, address).expect("a URL"),
            "postgres://role:secret@127.0.0.1:9/one?sslmode=disable"
        );
    }
}
