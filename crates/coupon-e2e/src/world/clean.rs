//! Taking away what a world has put on the shared servers. Best effort: what cannot be removed stays.

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::sync::OnceCell;

use super::{claim::Claim, owner};
use crate::{kafka, process::signal, servers::Servers};

/// Abandoned claims are looked for once in each process.
static SWEPT: OnceCell<()> = OnceCell::const_new();

/// Removes the data of worlds whose process is gone.
pub async fn behind_killed_runs(servers: &Servers) -> anyhow::Result<()> {
    SWEPT.get_or_try_init(|| sweep(servers)).await?;
    Ok(())
}

async fn sweep(servers: &Servers) -> anyhow::Result<()> {
    for claim in Claim::abandoned(servers)? {
        if claim.take_broom(servers)? {
            everything_of(&claim, servers).await;
        }
    }
    Ok(())
}

/// Ends the world's processes, then drops its topics, its database and its keys, and releases the claim.
pub async fn everything_of(claim: &Claim, servers: &Servers) {
    for pid in owner::with_argument(&claim.prefix()) {
        signal::send("KILL", pid).ok();
    }
    report("topics", kafka::admin::delete_topics_of(&servers.kafka_brokers, &claim.prefix()).await);
    report("database", drop_database(claim, servers).await);
    report("keys", flush(claim, servers));
    report("claim", claim.release(servers));
}

/// The same from a place without a runtime, such as a destructor.
pub fn everything_of_blocking(claim: &Claim, servers: &Servers) {
    // A thread of its own, because a runtime cannot be started inside a runtime.
    let (claim, servers) = (claim.clone(), servers.clone());
    let cleaning = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(everything_of(&claim, &servers)),
            Err(error) => eprintln!("world {}: cannot clean up: {error}", claim.id),
        }
    });
    cleaning.join().ok();
}

async fn drop_database(claim: &Claim, servers: &Servers) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(&servers.database_url).await?;
    let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", claim.database());
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
    Ok(())
}

fn flush(claim: &Claim, servers: &Servers) -> anyhow::Result<()> {
    let mut redis = redis::Client::open(servers.redis(claim.redis_index)?)?.get_connection()?;
    Ok(redis::cmd("FLUSHDB").query(&mut redis)?)
}

fn report(what: &str, outcome: anyhow::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("left behind: {what}: {error:#}");
    }
}
