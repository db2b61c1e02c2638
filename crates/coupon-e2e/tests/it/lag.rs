//! A consumer that may not or cannot fetch, seen from outside.

use anyhow::{Result, ensure};
use coupon_e2e::{
    kafka::record::NewRecord,
    process::Process,
    servers::private::{PrivateServers, Server},
    wait::eventually,
    world::{Setup, World},
};

use crate::{SOON, issued_rows, write::accepted};

async fn stands_still(process: &Process, topic: &str) -> Result<()> {
    eventually("it is not ready and says why", SOON * 2, async || -> Result<bool> {
        let page = process.admin_page("/readyz").await?;
        Ok(process.admin_status("/readyz").await == Some(503)
            && page.contains("kafka gives no records")
            && page.contains(topic))
    })
    .await?;
    ensure!(process.metric("coupon_group_lag_records", "").await?.is_some_and(|records| records >= 3.0));
    ensure!(process.metric("coupon_group_lag_seconds", "").await?.is_some_and(|seconds| seconds >= 4.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_may_not_read_is_not_ready_and_its_lag_is_measured_from_outside() -> Result<()> {
    let private = PrivateServers::kafka_with_rights().await?;
    let world = World::with(Setup { partitions: 1, dlq_partitions: 1, ..Setup::on(private.servers()) }).await?;
    world.open_campaign("UNREAD", 10).await?;
    let mut launches = [world.start_issue_consumer(), world.start_dlq_consumer()].map(|launch| {
        let launch = launch.kafka_through(private.way_to_kafka()).set("lag.stalled_after_ms", 4000);
        private.kafka_login().into_iter().fold(launch, |launch, (key, value)| launch.set(key, value)).into_future()
    });
    let [issue, dlq] = &mut launches;
    let (api, issue, dlq) = tokio::try_join!(world.start_api().into_future(), issue, dlq)?;
    accepted(&world, &api, "UNREAD", "before").await?;
    issued_rows(&world, "UNREAD", 1, SOON).await?;
    for topic in [&world.topic, &world.dlq] {
        private.may_read(topic.name(), false).await?;
    }
    for number in 0..5 {
        accepted(&world, &api, "UNREAD", &format!("unread-{number}")).await?;
        world.dlq.write(&NewRecord::of("k", format!("no event {number}"))).await?;
    }
    stands_still(&issue, world.topic.name()).await?;
    stands_still(&dlq, world.dlq.name()).await?;
    for topic in [&world.topic, &world.dlq] {
        private.may_read(topic.name(), true).await?;
    }
    issued_rows(&world, "UNREAD", 6, SOON * 2).await?;
    for process in [&issue, &dlq] {
        eventually("ready again", SOON * 2, async || process.admin_status("/readyz").await == Some(200)).await?;
        eventually("no lag", SOON, async || -> Result<bool> {
            Ok(process.metric("coupon_group_lag_records", "").await? == Some(0.0))
        })
        .await?;
    }
    private.stop(Server::Kafka).await
}
