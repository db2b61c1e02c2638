//! One run at a time on one set of servers, and what a run has to itself there.

use anyhow::{Context, Result};
use coupon_e2e::{
    servers::Servers,
    world::{Setup, World},
};
use sqlx::{Connection, PgConnection};

use crate::{environment::Environment, progress};

/// Advisory lock of whoever measures: two at once would measure each other, and change settings of Redis crosswise.
const LOCK: i64 = 0x_0062_656e_6368;

/// Waits until nobody else measures on these servers. The lock is held as long as the connection lives.
pub async fn alone(environment: &Environment) -> Result<PgConnection> {
    let connection = PgConnection::connect(environment.database()).await;
    let mut connection = connection.context("PostgreSQL of DATABASE_URL does not answer")?;
    let free: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut connection).await?;
    if !free {
        progress::say("another coupon-bench measures on these servers; waiting for its end");
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
    }
    Ok(connection)
}

/// A fresh database, logical database of Redis and topics, with as many partitions as in production. Dropping the world
/// removes them.
pub async fn world() -> Result<World> {
    World::with(Setup { servers: Servers::from_env()?, partitions: 8, dlq_partitions: 4 }).await
}
