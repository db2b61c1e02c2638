//! Three brokers, three replicas, two in sync: what becomes of requests while brokers go and come.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    answers::State,
    process::Process,
    servers::{
        Servers,
        brokers::{Brokers, Way},
    },
    wait::pause,
    world::{Setup, World},
};

use crate::{SOON, Services, crowd::Crowd};

/// Longer than a broker takes to notice that another one is gone.
const GONE: Duration = Duration::from_secs(12);
/// A start of a JVM, an election and what waits in the outbox.
const SETTLED: Duration = Duration::from_mins(3);
const TOTAL: u64 = 100_000;

async fn world_on(brokers: &Brokers) -> Result<World> {
    let servers = Servers { kafka_brokers: brokers.addresses(Way::Plain), ..Servers::from_env()? };
    World::with(Setup::on(&servers)).await
}

/// Nobody is lost, nothing is there twice, and nobody was told to restart.
async fn all_is_kept(world: &World, crowd: Crowd, services: &Services) -> Result<()> {
    let sold = crowd.sold();
    crowd.go_home().await?;
    let verdict = world.quiet(SETTLED, &[]).await?;
    println!("three brokers: {sold} accepted; {verdict}");
    ensure!(verdict.compensated == 0, "{verdict}");
    for process in [&services.api, &services.issue_consumer, &services.dlq_consumer] {
        ensure!(Process::is_running(process));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_killed_and_then_two_lose_no_request() -> Result<()> {
    let mut brokers = Brokers::start(3, None).await?;
    let world = world_on(&brokers).await?;
    world.open_campaign("THREE", TOTAL).await?;
    let services = Services::start(&world).await?;
    let crowd = Crowd::ask(&world, &[&services.api], "THREE")?;
    crowd.sold_more(100).await?;
    brokers.kill(0);
    crowd.hears("accepted with two brokers", GONE + SOON, |answer| answer.state == Some(State::Accepted)).await?;
    pause(GONE).await;
    crowd.hears("still accepted", SOON, |answer| answer.state == Some(State::Accepted)).await?;
    brokers.kill(1);
    // One replica is not enough: the outbox takes what comes.
    crowd.hears("reserved with one broker", SOON, |answer| answer.state == Some(State::Reserved)).await?;
    pause(GONE).await;
    brokers.launch(0)?;
    brokers.launch(1)?;
    brokers.answer().await?;
    crowd.hears("accepted again", SETTLED, |answer| answer.state == Some(State::Accepted)).await?;
    all_is_kept(&world, crowd, &services).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_three_brokers_under_load_loses_no_request() -> Result<()> {
    let mut brokers = Brokers::start(3, None).await?;
    let world = world_on(&brokers).await?;
    world.open_campaign("ROLLED", TOTAL).await?;
    let services = Services::start(&world).await?;
    let crowd = Crowd::ask(&world, &[&services.api], "ROLLED")?;
    crowd.sold_more(100).await?;
    for number in 0..3 {
        brokers.stop(number).await?;
        brokers.launch(number)?;
        brokers.answer().await?;
        crowd.hears("accepted", SETTLED, |answer| answer.state == Some(State::Accepted)).await?;
        // The next one is restarted when this one is in sync again.
        pause(GONE).await;
    }
    all_is_kept(&world, crowd, &services).await
}
