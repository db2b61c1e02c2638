//! Where the servers are, one run at a time on them, and the worlds of a run.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    servers::{Servers, encrypted::EncryptedServers},
    world::{Setup, World},
};
use jsonwebtoken::Algorithm;
use sqlx::{Connection, PgConnection};
use url::Url;

use crate::progress;

/// Advisory lock of whoever measures: two at once would measure each other, and change settings of Redis crosswise.
const LOCK: i64 = 0x_0062_656e_6368;

/// Addresses of PostgreSQL, Redis and Kafka, and how tokens are signed there.
#[derive(Clone, Debug)]
pub struct Environment {
    algorithm: Algorithm,
    database: Url,
    redis: Url,
    kafka_brokers: String,
    encrypted: Option<Arc<EncryptedServers>>,
}

impl Environment {
    /// Reads `DATABASE_URL`, `REDIS_URL` and `KAFKA_BROKERS` from the environment of this process.
    pub fn of_process() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let variable = |name: &str| {
            variable(name).filter(|value| !value.is_empty()).with_context(|| {
                format!(
                    "{name} is not set; start the servers with `scripts/stack up servers`, \
                     then `eval \"$(scripts/stack env)\"`"
                )
            })
        };
        Ok(Self {
            algorithm: Algorithm::HS256,
            database: url(variable, "DATABASE_URL", &["postgres", "postgresql"])?,
            redis: url(variable, "REDIS_URL", &["redis"])?,
            kafka_brokers: variable("KAFKA_BROKERS")?,
            encrypted: None,
        })
    }

    /// The same with tokens signed by this algorithm, HS256 otherwise.
    pub fn signing_with(&self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self.clone() }
    }

    /// The same on servers of its own, to all of which the services come by TLS.
    pub async fn encrypted(&self) -> Result<Self> {
        let encrypted = EncryptedServers::start().await?;
        let Servers { database_url, redis_url, kafka_brokers } = encrypted.servers();
        let (database, redis) = (Url::parse(&database_url)?, Url::parse(&redis_url)?);
        Ok(Self { database, redis, kafka_brokers, encrypted: Some(Arc::new(encrypted)), ..self.clone() })
    }

    /// A [`world`] with tokens signed so, and with TLS if that is wanted.
    pub async fn world(&self) -> Result<World> {
        let Some(encrypted) = &self.encrypted else { return world_with(Servers::from_env()?, self.algorithm).await };
        let mut world = world_with(encrypted.servers(), self.algorithm).await?;
        encrypted.encrypt(&mut world);
        Ok(world)
    }

    /// `postgres://…` of the database that the environment names.
    pub fn database(&self) -> &str {
        self.database.as_str()
    }

    /// `redis://…` of the logical database that the environment names.
    pub fn redis(&self) -> &str {
        self.redis.as_str()
    }

    /// Ports of PostgreSQL, Redis and the first Kafka broker.
    pub fn ports(&self) -> (u16, u16, u16) {
        let kafka =
            self.kafka_brokers.split(',').next().and_then(|broker| broker.rsplit_once(':')?.1.trim().parse().ok());
        (self.database.port().unwrap_or(5432), self.redis.port().unwrap_or(6379), kafka.unwrap_or(9092))
    }

    /// Waits until nobody else measures on these servers. The lock is held as long as the connection lives.
    pub async fn alone(&self) -> Result<PgConnection> {
        let connection = PgConnection::connect(self.database()).await;
        let mut connection = connection.context("PostgreSQL of DATABASE_URL does not answer")?;
        let free: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut connection).await?;
        if !free {
            progress::say("another coupon-bench measures on these servers; waiting for its end");
            sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    /// `host:port`, several with commas between.
    pub fn kafka_brokers(&self) -> &str {
        &self.kafka_brokers
    }
}

/// A fresh database, logical database of Redis and topics, with as many partitions as in production. Dropping the world
/// removes them.
pub async fn world() -> Result<World> {
    world_with(Servers::from_env()?, Algorithm::HS256).await
}

async fn world_with(servers: Servers, algorithm: Algorithm) -> Result<World> {
    World::with(Setup { servers, partitions: 8, dlq_partitions: 4, algorithm }).await
}

// The value stays out of the message: it carries a password.
fn url(variable: impl Fn(&str) -> Result<String>, name: &str, schemes: &[&str]) -> Result<Url> {
    let url = Url::parse(&variable(name)?).with_context(|| format!("{name} is no URL"))?;
    ensure!(schemes.contains(&url.scheme()), "{name} begins with {}:// and not with {}://", url.scheme(), schemes[0]);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> &'static str {
        match name {
            "DATABASE_URL" => "postgres://role:secret@localhost:5432/one?sslmode=disable",
            "REDIS_URL" => "redis://localhost:6379/0",
            _ => "localhost:9092",
        }
    }

    fn all(name: &str) -> Option<String> {
        ["DATABASE_URL", "REDIS_URL", "KAFKA_BROKERS"].contains(&name).then(|| address(name).to_owned())
    }

    #[test]
    fn an_address_is_kept_as_it_is_and_its_port_is_known() {
        let environment = Environment::read(all).unwrap();
        assert_eq!(environment.database(), address("DATABASE_URL"));
        assert_eq!(environment.redis(), address("REDIS_URL"));
        assert_eq!(environment.kafka_brokers(), "localhost:9092");
        assert_eq!(environment.ports(), (5432, 6379, 9092));
    }

    #[test]
    fn a_missing_address_is_named_with_the_way_to_get_it() {
        for missing in ["DATABASE_URL", "REDIS_URL", "KAFKA_BROKERS"] {
            let error = Environment::read(|name| all(name).filter(|_| name != missing)).unwrap_err().to_string();
            assert!(error.contains(missing) && error.contains("eval \"$(scripts/stack env)\""), "{error}");
        }
    }

    #[test]
    fn an_address_of_another_kind_is_refused_and_its_password_not_shown() {
        let swapped = |name: &str| all(if name == "REDIS_URL" { "DATABASE_URL" } else { name });
        let error = format!("{:#}", Environment::read(swapped).unwrap_err());
        assert!(error.contains("REDIS_URL") && !error.contains("secret"), "{error}");
    }
}
