//! A primary of PostgreSQL that is killed, and its standby promoted.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    process::Process,
    proxy::Proxy,
    servers::{
        private::{PrivateServers, Server},
        standby::Standby,
    },
    wait::{eventually, pause},
    world::{Setup, World},
};
use sqlx::{Connection, PgConnection};

use crate::{SOON, crowd::Crowd};

const TOTAL: u64 = 100_000;
/// Time in which the standby hears nothing before the primary is killed. Rows that were only committed there are gone with it:
/// with `synchronous_commit = local` this test lost 61 of 496.
const UNHEARD: Duration = Duration::from_secs(3);
/// A promotion, and the back-off of the circuit breaker.
const SETTLED: Duration = Duration::from_mins(1);

/// With `synchronous_commit = on` and a synchronous standby, as "What runs with what" wants it where nothing may be lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_whose_synchronous_standby_is_promoted_under_load_has_lost_nothing() -> Result<()> {
    let private = PrivateServers::start(&[Server::Postgres]).await?;
    let mut world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("CRASHED", TOTAL).await?;
    let replication = Proxy::before(&world.database_url).await?;
    let standby = Standby::of(replication.url()).await?;
    let mut primary = PgConnection::connect(&world.database_url).await?;
    for statement in ["ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"] {
        sqlx::raw_sql(statement).execute(&mut primary).await?;
    }
    eventually("the standby is synchronous", SOON, async || -> Result<bool> {
        let state = sqlx::query_scalar("SELECT sync_state FROM pg_stat_replication").fetch_optional(&mut primary);
        let state: Option<String> = state.await?;
        Ok(state.as_deref() == Some("sync"))
    })
    .await?;

    let (login, place) = world.database_url.rsplit_once('@').context("a login")?;
    let (second, _) = standby.url().rsplit_once('@').and_then(|(_, place)| place.split_once('/')).context("a host")?;
    let both = format!("{login}@{second},{place}?target_session_attrs=read-write");
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().env("DATABASE_URL", &both).into_future(),
        world.start_issue_consumer().env("DATABASE_URL", &both).into_future(),
        world.start_dlq_consumer().env("DATABASE_URL", &both).into_future()
    )?;
    let crowd = Crowd::ask(&world, &[&api], "CRASHED")?;
    crowd.sold_more(200).await?;
    replication.stall().await?;
    pause(UNHEARD).await;
    private.kill(Server::Postgres)?;
    crowd.sold_more(100).await?;
    replication.cut().await?;
    let mut raw = PgConnection::connect(standby.url()).await?;
    let promoted: bool = sqlx::query_scalar("SELECT pg_promote(true, 30)").fetch_one(&mut raw).await?;
    ensure!(promoted, "the standby is promoted");
    crowd.sold_more(100).await?;
    let sold = crowd.sold();
    crowd.go_home().await?;

    standby.url().clone_into(&mut world.database_url);
    let world = world.reconnected().await?;
    let verdict = world.quiet(SETTLED, &[]).await?;
    println!("killed primary: {sold} accepted; {verdict}");
    ensure!(verdict.compensated == 0, "{verdict}");
    for service in [&issue, &dlq] {
        ensure!(Process::is_running(service));
        eventually("it is ready", SETTLED, async || service.admin_status("/readyz").await == Some(200)).await?;
    }
    ensure!(!issue.log_contains("attempt failed"), "an attempt was charged");
    Ok(())
}
