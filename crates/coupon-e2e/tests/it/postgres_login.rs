//! PostgreSQL with several hosts, and with a password that changes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    process::logs::LogLine,
    servers::{
        private::{PrivateServers, Server},
        standby::Standby,
    },
    wait::{eventually, pause},
    world::{Setup, World},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    SOON, issued_rows,
    write::{accepted, ask_in_order},
};

/// A promotion, and the back-off of the circuit breaker.
const RESUMES_WITHIN: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_under_load_is_followed_by_a_url_with_both_hosts_and_loses_nothing() -> Result<()> {
    let private = PrivateServers::start(&[Server::Postgres]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("PROMOTED", 500).await?;
    let standby = Standby::of(&world.database_url).await?;
    let (login, place) = world.database_url.rsplit_once('@').context("a login")?;
    let (second, _) = standby.url().rsplit_once('@').and_then(|(_, place)| place.split_once('/')).context("a host")?;
    // The standby first: it answers, and it is not the one.
    let both = format!("{login}@{second},{place}?target_session_attrs=read-write");
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().env("DATABASE_URL", &both).into_future(),
        world.start_issue_consumer().env("DATABASE_URL", &both).into_future(),
        world.start_dlq_consumer().env("DATABASE_URL", &both).into_future()
    )?;
    ask_in_order(&world, &api, "PROMOTED", 0..20).await?;
    issued_rows(&world, "PROMOTED", 20, SOON).await?;

    let load = async {
        for number in 20..200 {
            accepted(&world, &api, "PROMOTED", &format!("member-{number}")).await?;
            pause(Duration::from_millis(20)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    let promotion = async {
        pause(Duration::from_millis(500)).await;
        // A stop in good order: the standby has every row before it ends.
        private.stop(Server::Postgres).await?;
        pause(Duration::from_secs(1)).await;
        let mut raw = PgConnection::connect(standby.url()).await?;
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote(true, 30)").fetch_one(&mut raw).await?;
        ensure!(promoted, "the standby is promoted");
        Ok(())
    };
    tokio::try_join!(load, promotion)?;
    let mut raw = PgConnection::connect(standby.url()).await?;
    eventually("all are issued by the new primary", RESUMES_WITHIN, async || -> Result<bool> {
        let issued = "SELECT count(DISTINCT member_id) FROM coupon_issues WHERE decision = 'ISSUED'";
        let issued: i64 = sqlx::query_scalar(issued).fetch_one(&mut raw).await?;
        if issued == 200 { Ok(true) } else { anyhow::bail!("{issued} are") }
    })
    .await?;
    for service in [&issue, &dlq] {
        eventually("it is ready", RESUMES_WITHIN, async || service.admin_status("/readyz").await == Some(200)).await?;
    }
    ensure!(!issue.log_contains("attempt failed"), "an attempt was charged");
    let compensated: i64 = sqlx::query_scalar("SELECT count(*) FROM failed_coupon_issues").fetch_one(&mut raw).await?;
    ensure!(compensated == 0, "{compensated} were compensated");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_from_a_file_or_a_command_is_read_again_at_each_connection() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ROTATED", 100).await?;
    let mut admin = PgConnection::connect(&world.database_url).await?;
    let role = format!("rotated_{}", std::process::id());
    let run = async |admin: &mut PgConnection, statement: String| {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(admin).await
    };
    let rotate = async |admin: &mut PgConnection, word: &str| -> Result<()> {
        run(admin, format!("ALTER ROLE {role} PASSWORD '{word}'")).await?;
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
        run(admin, end).await?;
        Ok(())
    };
    run(&mut admin, format!("DROP ROLE IF EXISTS {role}")).await?;
    run(&mut admin, format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'hunter1'")).await?;
    let password = world.folder().join("password");
    std::fs::write(&password, "hunter0\n")?;
    let (_, place) = world.database_url.rsplit_once('@').context("a login")?;
    let address = world.folder().join("url");
    std::fs::write(&address, format!("postgres://{role}@{place}\n"))?;
    let path = password.display();

    let launch = world.start_issue_consumer().set("database.url_file", address.display());
    let issue = launch.set("database.password_file", &path).without_waiting().await?;
    eventually("it says what it waits for", SOON, async || -> Result<bool> {
        Ok(issue.admin_page("/readyz").await?.contains("`database.password_file`"))
    })
    .await?;
    std::fs::write(&password, "hunter1\n")?;
    eventually("it is ready", SOON, async || issue.admin_status("/readyz").await == Some(200)).await?;
    let says_so = |line: &LogLine| line.text.contains("waiting for postgresql");
    ensure!(issue.log().iter().filter(|line| says_so(line)).count() == 1, "said once: {:?}", issue.log());

    let command = format!("sh,-c,cat {path}");
    let dlq = world.start_dlq_consumer().set("database.url_file", address.display());
    let (api, dlq) = (world.start_api().await?, dlq.set("database.password_command", command).await?);
    let sessions =
        format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}' AND application_name = 'dlq-consumer'");
    for round in 2..4 {
        let word = format!("hunter{round}");
        std::fs::write(&password, &word)?;
        rotate(&mut admin, &word).await?;
        accepted(&world, &api, "ROTATED", &format!("member-{round}")).await?;
        issued_rows(&world, "ROTATED", round - 1, SOON).await?;
        eventually("dlq-consumer is let in again", SOON, async || -> Result<bool> {
            let count: i64 = sqlx::query_scalar(AssertSqlSafe(sessions.clone())).fetch_one(&world.db).await?;
            Ok(count > 0)
        })
        .await?;
    }
    ensure!(!issue.log_contains("attempt failed"), "an attempt was charged");
    for service in [&issue, &dlq] {
        ensure!(!service.log_contains("hunter"), "a password is in the log");
    }
    drop((issue, dlq));
    run(&mut admin, format!("DROP ROLE {role}")).await?;
    Ok(())
}
