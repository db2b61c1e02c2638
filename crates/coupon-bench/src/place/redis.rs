//! A logical database of Redis of its own, and the settings under which Redis notes its slow moments.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use redis::{AsyncCommands, AsyncConnectionConfig, aio::MultiplexedConnection};

use crate::{environment::Environment, measure::redis_log};

/// Hash that says whose a logical database is. It is also what the client that waits for Redis asks for: another key
/// than the campaign's.
pub const OWNER: &str = "coupon-bench";

/// Its field.
pub const FIELD: &str = "owner";

/// Longest time a command may take; emptying and filling a large database is slow.
const PATIENCE: Duration = Duration::from_mins(5);

/// A logical database that was empty and is now held.
pub struct OwnRedis {
    /// `redis://…` of it.
    pub url: String,
    /// Its number.
    pub number: u16,
    connection: MultiplexedConnection,
    id: String,
    /// Settings of the server as they were.
    settings: Vec<(&'static str, String)>,
}

impl OwnRedis {
    /// Takes the given logical database, or the first empty one of 1 to 15. One with anybody's data is refused.
    pub async fn claim(environment: &Environment, id: &str, number: Option<u16>) -> Result<Self> {
        let numbers = number.map_or(1..=15, |number| number..=number);
        for candidate in numbers {
            let url = environment.redis_numbered(candidate);
            let mut connection = connect(&url).await?;
            let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await?;
            // Of two who see the same empty one, one gets it.
            if keys == 0 && connection.hset_nx(OWNER, FIELD, id).await? {
                let settings = settings(&mut connection).await?;
                return Ok(Self { url, number: candidate, connection, id: id.to_owned(), settings });
            }
            ensure!(number.is_none(), "the logical database {candidate} of Redis is not empty; it stays as it is");
        }
        bail!("none of the logical databases 1 to 15 of Redis is empty; they stay as they are")
    }

    /// A connection to it.
    pub fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Has the server note its slow moments from now on.
    pub async fn take_notes(&self) -> Result<()> {
        for (name, value) in redis_log::SETTINGS {
            set(&mut self.connection(), name, value).await?;
        }
        Ok(())
    }

    /// Puts the settings back as they were and empties the database.
    pub async fn give_back(&self) -> Result<()> {
        let mut connection = self.connection();
        for (name, value) in &self.settings {
            set(&mut connection, name, value).await?;
        }
        let owner: Option<String> = connection.hget(OWNER, FIELD).await?;
        ensure!(owner.as_ref() == Some(&self.id), "the logical database {} is no longer ours", self.number);
        Ok(redis::cmd("FLUSHDB").arg("ASYNC").query_async(&mut connection).await?)
    }
}

async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let client = redis::Client::open(url).context("REDIS_URL is no address of Redis")?;
    let patient =
        AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE)).set_connection_timeout(Some(PATIENCE));
    let connection = client.get_multiplexed_async_connection_with_config(&patient);
    connection.await.context("Redis of REDIS_URL does not answer")
}

async fn settings(connection: &mut MultiplexedConnection) -> Result<Vec<(&'static str, String)>> {
    let mut settings = Vec::new();
    for (name, _) in redis_log::SETTINGS {
        let found: HashMap<String, String> = redis::cmd("CONFIG").arg("GET").arg(*name).query_async(connection).await?;
        let value = found.get(*name).with_context(|| format!("Redis has no setting {name}"))?;
        settings.push((*name, value.clone()));
    }
    Ok(settings)
}

async fn set(connection: &mut MultiplexedConnection, name: &str, value: &str) -> Result<()> {
    Ok(redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query_async(connection).await?)
}
