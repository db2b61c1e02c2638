//! The contract with the servers: what is not as it is wanted is named, counted, and keeps new requests out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    kafka::record::{Event, NewRecord},
    process::{Process, logs::LogLine},
    servers::replica::Replica,
    wait::eventually,
    world::World,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{SOON, issued_rows, write::accepted};

/// Period of the checks of server settings in these tests, in ms.
const EVERY: u64 = 1000;

async fn findings(process: &Process, server: &str, severity: &str) -> Result<Option<f64>> {
    let labels = [format!("server=\"{server}\""), format!("severity=\"{severity}\"")];
    let page = process.metrics().await?;
    let line = page.lines().find(|line| {
        line.starts_with("coupon_contract_findings") && labels.iter().all(|label| line.contains(label.as_str()))
    });
    Ok(line.and_then(|line| line.rsplit_once(' ')?.1.parse().ok()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_would_lose_unread_records_is_named_in_log_metric_and_doctor_and_nothing_is_accepted() -> Result<()>
{
    let world = World::new().await?;
    world.open_campaign("KEPT", 10).await?;
    let (api, issue) = tokio::try_join!(
        world.start_api().set("contract.every_ms", EVERY).into_future(),
        world.start_issue_consumer().set("contract.every_ms", EVERY).into_future()
    )?;
    accepted(&world, &api, "KEPT", "before").await?;
    assert_eq!(findings(&api, "kafka", "breaks").await?, Some(0.0), "shown from the first moment");
    for (setting, value) in [("cleanup.policy", "compact"), ("retention.bytes", "1048576")] {
        world.topic.configure(&[(setting, value)]).await?;
        let named = format!("{setting} is {value}");
        for process in [&api, &issue] {
            process.wait_for_log("the setting is named", SOON, |line| line.text.contains(&named)).await?;
            eventually("it is counted", SOON, async || -> Result<bool> {
                Ok(findings(process, "kafka", "breaks").await? == Some(1.0))
            })
            .await?;
            eventually("not ready", SOON, async || process.admin_status("/readyz").await == Some(503)).await?;
        }
        let refused = world.member(&api, "meanwhile")?.ask("KEPT").await;
        // It takes a person to set the topic right.
        ensure!(refused.is_refused_as(503, "GATE_CLOSED") && refused.retry_after >= Some(30), "{refused:?}");
        for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
            let doctor = world.run(binary, &["doctor"]).await?;
            ensure!(doctor.code == Some(1) && doctor.stdout.contains(&named), "{binary}: {doctor:?}");
        }
        world.topic.configure(&[]).await?;
        let member = world.member(&api, setting)?;
        eventually("accepting goes on", SOON, async || member.ask("KEPT").await.is_held()).await?;
        for process in [&api, &issue] {
            eventually("ready", SOON, async || process.admin_status("/readyz").await == Some(200)).await?;
        }
    }
    let named = |line: &&LogLine| line.text.contains("cleanup.policy is compact");
    assert_eq!(api.log().iter().filter(named).count(), 2, "one line about the contract, one about readiness");
    issued_rows(&world, "KEPT", 3, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_weakens_a_promise_is_counted_and_stops_nothing() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("WEAK", 10).await?;
    let api = world.start_api().set("contract.every_ms", EVERY).await?;
    world.topic.configure(&[("unclean.leader.election.enable", "true")]).await?;
    eventually("it is counted", SOON, async || -> Result<bool> {
        Ok(findings(&api, "kafka", "weakens").await? == Some(1.0))
    })
    .await?;
    accepted(&world, &api, "WEAK", "somebody").await?;
    assert_eq!(api.admin_status("/readyz").await, Some(200));
    let doctor = world.run("issuer-api", &["doctor"]).await?;
    ensure!(doctor.code == Some(0) && doctor.stdout.contains("unclean.leader.election.enable is true"), "{doctor:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_spell_every_name_is_named_and_waited_for() -> Result<()> {
    let world = World::new().await?;
    world.db.close().await;
    let (server, name) = world.database_url.rsplit_once('/').context("a database")?;
    let mut admin = PgConnection::connect(&format!("{server}/postgres")).await?;
    for statement in [
        format!("DROP DATABASE {name} WITH (FORCE)"),
        format!("CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await?;
    }
    world.run("issue-consumer", &["migrate"]).await?.succeeded()?;
    let why = "server_encoding is SQL_ASCII";
    for binary in ["issuer-api", "issue-consumer", "dlq-consumer"] {
        let doctor = world.run(binary, &["doctor"]).await?;
        let line = doctor.stdout.lines().find(|line| line.starts_with("FAIL") && line.contains(why));
        ensure!(doctor.code == Some(1) && line.is_some_and(|line| line.contains("UTF8")), "{binary}: {doctor:?}");
    }
    let issue = world.start_issue_consumer().without_waiting().await?;
    eventually("it says what it waits for", SOON, async || -> Result<bool> {
        Ok(issue.admin_page("/readyz").await?.contains(why))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_in_cluster_mode_is_refused_in_words_unless_the_setting_says_so() -> Result<()> {
    let world = World::new().await?;
    let cluster = Replica::of_a_cluster().await?;
    let why = "this is a node of a redis cluster";
    for launch in [world.start_api(), world.start_dlq_consumer()] {
        let process = launch.env("REDIS_URL", cluster.url()).without_waiting().await?;
        assert_eq!(process.exit(SOON).await?.code(), Some(1));
        process.wait_for_log("why", SOON, |line| line.text.contains(why)).await?;
    }
    for binary in ["issuer-api", "dlq-consumer"] {
        let doctor = world.run_with(binary, &["doctor"], &[("REDIS_URL", cluster.url())]).await?;
        ensure!(doctor.code == Some(1), "{doctor:?}");
        ensure!(doctor.stdout.lines().any(|line| line.starts_with("FAIL") && line.contains(why)), "{doctor:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_within_30_seconds() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("WIDER", 10).await?;
    let (api, _issue) = tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    accepted(&world, &api, "WIDER", "before").await?;
    issued_rows(&world, "WIDER", 1, SOON).await?;
    world.topic.add_partitions(3).await?;
    let event = Event::of("WIDER", "new-partition", 2);
    world.stock.set_holder("WIDER", "new-partition", Some(event.request_id)).await?;
    world.topic.write(&NewRecord::event(&event).in_partition(2)).await?;
    issued_rows(&world, "WIDER", 2, Duration::from_secs(30)).await
}
