//! Faults of Redis, PostgreSQL and Kafka themselves.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::seq::IndexedRandom;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{
    Run,
    fault::{Fault, Kind},
    fleet::until_done,
    strike::newest,
};
use crate::{
    failures::FullDisk,
    process::signal,
    servers::private::Server,
    stock::key,
    wait::{eventually, pause},
};

/// Ends all other sessions of a database.
const END_SESSIONS: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
/// Deletes a campaign whose outbox is empty: nobody is told `reserved` by it whose request is nowhere else.
const LOSE: &str = "if redis.call('ZCARD', KEYS[3]) > 0 then return 0 end return redis.call('DEL', KEYS[1], KEYS[2])";

/// Strikes a server and ends the fault; returns what was struck.
pub(super) async fn strike(run: &Run, fault: &Fault) -> Result<String> {
    let done = || Ok(String::new());
    match fault.kind {
        Kind::KillRedis => kill(run, Server::Redis, fault).await.and_then(|()| done()),
        Kind::KillKafka => kill(run, Server::Kafka, fault).await.and_then(|()| done()),
        Kind::RestartRedis => restart(run, Server::Redis, fault).await.and_then(|()| done()),
        Kind::RestartKafka => restart(run, Server::Kafka, fault).await.and_then(|()| done()),
        Kind::RestartDatabase => restart(run, Server::Postgres, fault).await.and_then(|()| done()),
        Kind::FreezeRedis => freeze(run, Server::Redis, fault).await.and_then(|()| done()),
        Kind::FreezeKafka => freeze(run, Server::Kafka, fault).await.and_then(|()| done()),
        Kind::ReadOnlyRedis => {
            // A replica of nobody: it keeps its data and refuses writes.
            redis(run, fault, &["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"]).await.and_then(|()| done())
        }
        Kind::FullRedis => {
            let (full, room) = (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]);
            redis(run, fault, &full, &room).await.and_then(|()| done())
        }
        Kind::LoseCampaign => lose_campaign(run, fault).await,
        _ => database(run, fault).await,
    }
}

async fn kill(run: &Run, server: Server, fault: &Fault) -> Result<()> {
    run.fleet.private.kill(server)?;
    back(run, server, fault).await
}

async fn restart(run: &Run, server: Server, fault: &Fault) -> Result<()> {
    run.fleet.private.stop(server).await?;
    back(run, server, fault).await
}

async fn back(run: &Run, server: Server, fault: &Fault) -> Result<()> {
    pause(fault.lasts).await;
    let what = format!("{server:?} is there again");
    until_done(&what, async || run.fleet.private.start_again(server).await).await?;
    if server == Server::Redis { run.fleet.keep_redis_whole().await } else { Ok(()) }
}

async fn freeze(run: &Run, server: Server, fault: &Fault) -> Result<()> {
    run.fleet.private.signal(server, "STOP")?;
    pause(fault.lasts).await;
    run.fleet.private.signal(server, "CONT")
}

/// Sends one command to Redis, and the other one when the fault is over.
async fn redis(run: &Run, fault: &Fault, first: &[&str], last: &[&str]) -> Result<()> {
    let send = async |words: &[&str]| -> Result<()> {
        Ok(redis::cmd(words[0]).arg(&words[1..]).exec_async(&mut run.fleet.stock().await?.redis()).await?)
    };
    let begun = send(first).await;
    pause(fault.lasts).await;
    until_done("Redis is well again", async || send(last).await).await?;
    begun
}

async fn lose_campaign(run: &Run, fault: &Fault) -> Result<String> {
    let campaigns = run.crowd.campaigns();
    let code = &campaigns.choose(&mut fault.chance()).context("a campaign")?.code;
    let mut redis = run.fleet.stock().await?.redis();
    eventually("a moment in which nothing waits in the outbox", Duration::from_secs(20), async || -> Result<bool> {
        let keys = ["meta", "issued", "outbox"].map(|part| key(code, part));
        let lost: i64 = redis::Script::new(LOSE).key(&keys).invoke_async(&mut redis).await?;
        Ok(lost > 0)
    })
    .await?;
    Ok(code.clone())
}

async fn database(run: &Run, fault: &Fault) -> Result<String> {
    let world = &run.fleet.world;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&world.db).await?;
    match fault.kind {
        Kind::CrashDatabase => {
            let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&world.db).await?;
            signal::send("KILL", u32::try_from(backend)?)?;
            return Ok(format!("backend {backend}"));
        }
        Kind::FullDisk => {
            // Ended even if it is not known whether it has begun; so are the faults below.
            let begun = FullDisk::of(&world.db).await;
            pause(fault.lasts).await;
            until_done("there is room again", async || {
                sqlx::raw_sql("DROP SCHEMA IF EXISTS full_disk CASCADE").execute(&world.db).await?;
                Ok(())
            })
            .await?;
            begun?;
        }
        Kind::ReadOnlyDatabase => {
            // By another database, which may be written to.
            let set = async |word: &str| -> Result<()> {
                let mut admin = PgConnection::connect(&run.fleet.private.servers().database_url).await?;
                let statement = format!("ALTER DATABASE {name} {word}");
                sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
                sqlx::query(END_SESSIONS).bind(&name).execute(&mut admin).await?;
                Ok(())
            };
            let begun = set("SET default_transaction_read_only = on").await;
            pause(fault.lasts).await;
            let reset = "RESET default_transaction_read_only";
            until_done("PostgreSQL takes writes again", async || set(reset).await).await?;
            begun?;
        }
        Kind::EndSessions => {
            sqlx::query(END_SESSIONS).bind(&name).execute(&world.db).await?;
        }
        Kind::LockCampaign => {
            let code = newest(run)?.code.clone();
            let mut holder = world.db.begin().await?;
            let lock = sqlx::query("SELECT FROM coupons WHERE coupon_code = $1 FOR UPDATE");
            lock.bind(&code).execute(&mut *holder).await?;
            pause(fault.lasts).await;
            // A holder whose session was ended holds nothing either.
            holder.rollback().await.ok();
            return Ok(code);
        }
        other => bail!("{other:?} is no fault of a server"),
    }
    Ok(String::new())
}
