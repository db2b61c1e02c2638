//! O, with servers of their own: really stopped, killed, frozen, and a Kafka that is slow, silent or cut off.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    answers::State,
    servers::private::{PrivateServers, Server},
    wait::{eventually, pause},
    world::{Setup, World},
};

use crate::{
    SOON, issued_rows,
    write::{accepted, ask_in_order},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_servers_that_are_really_stopped_and_killed_come_back_and_nothing_is_lost() -> Result<()> {
    let private = PrivateServers::start(&[Server::Postgres, Server::Redis]).await?;
    // The world's own connections end with the servers; it is looked at through those of the services.
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("STOPPED", 100).await?;
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().into_future()
    )?;
    ask_in_order(&world, &api, "STOPPED", 0..10).await?;
    issued_rows(&world, "STOPPED", 10, SOON).await?;

    private.stop(Server::Postgres).await?;
    ask_in_order(&world, &api, "STOPPED", 10..20).await?;
    eventually("the breaker opens", SOON, async || -> Result<bool> {
        Ok(issue.metric("coupon_breaker_open", "postgresql").await? == Some(1.0))
    })
    .await?;
    pause(Duration::from_secs(5)).await;
    private.start_again(Server::Postgres).await?;
    issued_rows(&world, "STOPPED", 20, SOON).await?;

    private.kill(Server::Redis)?;
    let answer = world.member(&api, "nobody")?.ask("STOPPED").await;
    ensure!(answer.status == Some(503), "{answer:?}");
    private.start_again(Server::Redis).await?;
    let member = world.member(&api, "after")?;
    eventually("accepting goes on", SOON, async || member.ask("STOPPED").await.is_held()).await?;
    issued_rows(&world, "STOPPED", 21, SOON).await?;
    ensure!(![&issue, &dlq].iter().any(|one| one.log_contains("attempt failed")), "an attempt was charged");
    let world = world.reconnected().await?;
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (21, 0), "{verdict}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_a_kafka_that_is_slow_silent_or_cut_off_delays_and_loses_nothing() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("WAY", 100).await?;
    let way = private.way_to_kafka();
    let (api, issue) = tokio::try_join!(
        world.start_api().kafka_through(way).into_future(),
        world.start_issue_consumer().kafka_through(way).into_future()
    )?;
    way.delay(Duration::from_millis(50)).await?;
    ask_in_order(&world, &api, "WAY", 0..3).await?;
    issued_rows(&world, "WAY", 3, SOON * 2).await?;

    way.stall().await?;
    for number in 3..6 {
        let answer = accepted(&world, &api, "WAY", &format!("member-{number}")).await?;
        ensure!(answer.state == Some(State::Reserved), "{answer:?}");
    }
    pause(Duration::from_secs(10)).await;
    way.restore().await?;
    issued_rows(&world, "WAY", 6, SOON * 3).await?;

    way.cut().await?;
    ask_in_order(&world, &api, "WAY", 6..9).await?;
    pause(Duration::from_secs(10)).await;
    way.restore().await?;
    issued_rows(&world, "WAY", 9, SOON * 3).await?;
    ensure!(!issue.log_contains("attempt failed"), "an attempt was charged");
    world.quiet(SOON * 2, &[]).await?;
    Ok(())
}

/// A process that sleeps until others have its partitions does nothing twice when it wakes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_process_that_is_frozen_until_its_partitions_are_gone_wakes_up_harmlessly() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FROZEN", 200).await?;
    let (api, frozen, other) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_issue_consumer().into_future()
    )?;
    ask_in_order(&world, &api, "FROZEN", 0..40).await?;
    frozen.stop()?;
    ask_in_order(&world, &api, "FROZEN", 40..80).await?;
    eventually("the other has all partitions", SOON * 2, async || -> Result<bool> {
        Ok(other.metric("coupon_consumer_partitions", "").await? == Some(4.0))
    })
    .await?;
    issued_rows(&world, "FROZEN", 80, SOON).await?;
    frozen.cont()?;
    ask_in_order(&world, &api, "FROZEN", 80..120).await?;
    issued_rows(&world, "FROZEN", 120, SOON).await?;
    eventually("both have partitions again", SOON * 2, async || -> Result<bool> {
        Ok(frozen.metric("coupon_consumer_partitions", "").await? == Some(2.0))
    })
    .await?;
    ask_in_order(&world, &api, "FROZEN", 120..140).await?;
    issued_rows(&world, "FROZEN", 140, SOON).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (140, 0), "{verdict}");
    Ok(())
}
