//! Outages whose error is called otherwise, and connections that answer and lead to the wrong server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    process::Process,
    proxy::Proxy,
    servers::{
        private::{PrivateServers, Server},
        replica::Replica,
        standby::Standby,
    },
    wait::{eventually, stays},
    world::{Setup, World},
};
use reqwest::Url;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::{SOON, issued_rows, unavailable, write::accepted};

/// Work resumes so soon after an outage (I8), and the machine is busy.
const RESUMES_WITHIN: Duration = Duration::from_secs(12);
/// Longer than the attempts of both consumers take together: 1 + 2 + 4 s and 1 + 2 s.
const LONGER_THAN_ALL_ATTEMPTS: Duration = Duration::from_secs(16);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_connections_for_longer_than_all_attempts_compensates_nobody() -> Result<()> {
    let ways = [
        ("ALTER DATABASE {db} ALLOW_CONNECTIONS false", "ALTER DATABASE {db} ALLOW_CONNECTIONS true"),
        ("REVOKE CONNECT ON DATABASE {db} FROM PUBLIC", "GRANT CONNECT ON DATABASE {db} TO PUBLIC"),
        // Half there: the sessions live on, and only one right is gone.
        ("own: REVOKE INSERT ON coupon_issues FROM {role}", "own: GRANT INSERT ON coupon_issues TO {role}"),
    ];
    tokio::try_join!(outage(ways[0], "first"), outage(ways[1], "second"), outage(ways[2], "third"))?;
    Ok(())
}

async fn outage((begin, end): (&str, &str), which: &str) -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AWAY", 100).await?;
    let name = Url::parse(&world.database_url)?.path().trim_start_matches('/').to_owned();
    let role = format!("{name}_{which}");
    let mut server = PgConnection::connect(&coupon_e2e::servers::Servers::from_env()?.database_url).await?;
    server.execute(AssertSqlSafe(format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'"))).await?;
    let rights = format!(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(rights)).execute(&world.db).await?;
    let mut own = Url::parse(&world.database_url)?;
    own.set_username(&role).ok().context("a role")?;
    own.set_password(Some("secret")).ok().context("a password")?;
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().env("DATABASE_URL", &own).into_future(),
        world.start_issue_consumer().env("DATABASE_URL", &own).into_future(),
        world.start_dlq_consumer().env("DATABASE_URL", &own).into_future()
    )?;
    accepted(&world, &api, "AWAY", "before").await?;
    issued_rows(&world, "AWAY", 1, SOON).await?;
    let mut change = async |statement: &str| -> Result<()> {
        let text = statement.replace("{db}", &name).replace("{role}", &role);
        match text.strip_prefix("own: ") {
            Some(text) => world.db.execute(AssertSqlSafe(text.to_owned())).await?,
            None => server.execute(AssertSqlSafe(text)).await?,
        };
        Ok(())
    };
    change(begin).await?;
    if !begin.starts_with("own") {
        // By a session elsewhere: the database may take no new one of the test either.
        change("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'").await?;
    }
    for member in 0..5 {
        accepted(&world, &api, "AWAY", &format!("during-{member}")).await?;
    }
    issue.wait_for_log("the breaker opens", SOON, unavailable).await?;
    stays("nothing is charged and nothing handed over", LONGER_THAN_ALL_ATTEMPTS, async || -> Result<bool> {
        Ok(!issue.log_contains("attempt failed") && world.dlq.read().await?.is_empty())
    })
    .await?;
    ensure!(issue.admin_status("/readyz").await == Some(503), "who cannot write for so long is not ready");
    ensure!(issue.admin_status("/livez").await == Some(200) && api.admin_status("/readyz").await == Some(200));
    change(end).await?;
    issued_rows(&world, "AWAY", 6, RESUMES_WITHIN).await?;
    is_ready(&issue).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (6, 0), "{verdict}");
    for process in [api, issue, dlq] {
        process.terminate(Duration::from_secs(20)).await?;
    }
    let left = format!("DROP OWNED BY {role}");
    world.db.execute(AssertSqlSafe(left)).await?;
    server.execute(AssertSqlSafe(format!("DROP ROLE {role}"))).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_demoted_behind_an_address_that_moves_serves_again_within_seconds() -> Result<()> {
    let private = PrivateServers::start(&[Server::Redis]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    let master = world.redis_url.clone();
    let (way, replication) = (Proxy::before(&master).await?, Proxy::before(&master).await?);
    let replica = Replica::following(&replication).await?;
    world.open_campaign("MOVED", 100).await?;
    let (api, dlq) = tokio::try_join!(
        world.start_api().redis_through(&way).into_future(),
        world.start_dlq_consumer().redis_through(&way).into_future()
    )?;
    accepted(&world, &api, "MOVED", "before").await?;
    replica.promote().await?;
    replica.demote(&master).await?;
    // The address leads to a replica for a while: whoever connects there is answered, and nothing is written.
    for process in [&api, &dlq] {
        eventually("it says that nothing can be written", SOON, async || -> Result<bool> {
            Ok(process.admin_status("/readyz").await == Some(503)
                && process.admin_page("/readyz").await?.to_lowercase().contains("read only replica"))
        })
        .await?;
    }
    let doctor = world.run_with("issuer-api", &["doctor"], &[]).await?;
    ensure!(doctor.code == Some(1) && doctor.stdout.contains("a replica takes no reservations"), "{doctor:?}");
    ensure!(
        api.log().iter().filter(|line| line.message().contains("redis is not ready")).count() == 1,
        "one line says it"
    );
    way.lead_to(&replica.url_like(way.url()).await?).await?;
    let member = world.member(&api, "after")?;
    eventually("members are served again", RESUMES_WITHIN, async || -> Result<bool> {
        Ok(member.ask("MOVED").await.status == Some(202))
    })
    .await?;
    is_ready(&api).await?;
    is_ready(&dlq).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_to_redis_is_tried_again_for_ever() -> Result<()> {
    let private = PrivateServers::start(&[Server::Redis]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("LOGIN", 100).await?;
    let mut own = Url::parse(&world.redis_url)?;
    own.set_username("service").ok().context("a user")?;
    own.set_password(Some("secret")).ok().context("a password")?;
    let mut raw = redis(&world.redis_url).await?;
    let set = async |raw: &mut redis::aio::MultiplexedConnection, password: &str, right: &str| -> Result<()> {
        let mut command = redis::cmd("ACL");
        let command = command.arg("SETUSER").arg("service").arg("reset").arg("on").arg("~*").arg("+@all");
        Ok(command.arg(right).arg(format!(">{password}")).query_async(raw).await?)
    };
    set(&mut raw, "secret", "+@all").await?;
    let api = world.start_api().env("REDIS_URL", &own).await?;
    accepted(&world, &api, "LOGIN", "before").await?;
    let member = world.member(&api, "after")?;
    for (password, right) in [("another", "+@all"), ("secret", "-time"), ("secret", "-evalsha")] {
        set(&mut raw, password, right).await?;
        let _: i64 = redis::cmd("CLIENT").arg("KILL").arg("USER").arg("service").query_async(&mut raw).await?;
        eventually("it is not ready", SOON, async || api.admin_status("/readyz").await == Some(503)).await?;
        stays("nobody is served", Duration::from_secs(3), async || -> Result<bool> {
            Ok(member.ask("LOGIN").await.status == Some(503))
        })
        .await?;
        set(&mut raw, "secret", "+@all").await?;
        is_ready(&api).await?;
    }
    ensure!(member.ask("LOGIN").await.status == Some(202));
    // At most one line for each of the three, however many requests were refused.
    let said = api.log().iter().filter(|line| line.message().starts_with("reservations fail in redis")).count();
    ensure!(said <= 3, "{said} lines for the requests that were refused");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_whose_address_led_to_a_standby_is_written_to_again_within_seconds() -> Result<()> {
    let private = PrivateServers::start(&[Server::Postgres]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("STANDBY", 100).await?;
    let standby = Standby::of(&world.database_url).await?;
    let way = Proxy::before(&world.database_url).await?;
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().database_through(&way).into_future(),
        world.start_dlq_consumer().database_through(&way).into_future()
    )?;
    accepted(&world, &api, "STANDBY", "before").await?;
    issued_rows(&world, "STANDBY", 1, SOON).await?;
    way.lead_to(standby.url()).await?;
    way.cut().await?;
    way.restore().await?;
    for member in 0..5 {
        accepted(&world, &api, "STANDBY", &format!("during-{member}")).await?;
    }
    issue.wait_for_log("the breaker opens", SOON, unavailable).await?;
    stays("nothing is charged", Duration::from_secs(8), async || !issue.log_contains("attempt failed")).await?;
    // Back to the primary; whoever is connected to the standby stays so, and is answered.
    way.lead_to(&world.database_url).await?;
    issued_rows(&world, "STANDBY", 6, RESUMES_WITHIN).await?;
    is_ready(&issue).await?;
    is_ready(&dlq).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (6, 0), "{verdict}");
    Ok(())
}

async fn is_ready(process: &Process) -> Result<()> {
    eventually("it is ready", RESUMES_WITHIN, async || process.admin_status("/readyz").await == Some(200)).await
}

async fn redis(url: &str) -> Result<redis::aio::MultiplexedConnection> {
    Ok(redis::Client::open(url)?.get_multiplexed_async_connection().await?)
}
