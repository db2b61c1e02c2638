//! O2, O3, O4: an outage and the consumer group; stopping in the middle of a back-off.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    process::{Process, logs::LogLine},
    proxy::Proxy,
    wait::{eventually, pause},
    world::World,
};

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, issued_rows, unavailable,
    write::{accepted, ask_in_order, dead_letters},
};

async fn breaker_opens(consumer: &Process) -> Result<LogLine> {
    consumer.wait_for_log("the breaker opens", SOON, unavailable).await
}

async fn is_assigned(consumer: &Process, partitions: f64) -> Result<()> {
    eventually(&format!("{partitions} partitions are assigned"), SOON * 2, async || -> Result<bool> {
        Ok(consumer.metric("coupon_consumer_partitions", "").await? == Some(partitions))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o2_an_outage_longer_than_the_poll_interval_causes_no_rebalance() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LONG", 100).await?;
    let way = Proxy::before(&world.database_url).await?;
    let launch = world.start_issue_consumer().database_through(&way);
    let (api, consumer) = tokio::try_join!(
        world.start_api().into_future(),
        launch.set("kafka.properties.max.poll.interval.ms", 7000).into_future()
    )?;
    way.cut().await?;
    ask_in_order(&world, &api, "LONG", 0..10).await?;
    breaker_opens(&consumer).await?;
    assert_eq!(consumer.metric("coupon_breaker_open", "postgresql").await?, Some(1.0));
    pause(Duration::from_secs(20)).await;
    assert!(!consumer.log_contains("partitions revoked"), "it left the group");
    way.restore().await?;
    issued_rows(&world, "LONG", 10, SOON).await?;
    assert!(!consumer.log_contains("partitions revoked") && !consumer.log_contains("attempt failed"));
    assert_eq!(consumer.metric("coupon_breaker_open", "postgresql").await?, Some(0.0));
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_a_paused_member_that_dies_leaves_its_partitions_to_one_that_consumes_them() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("HEIRS", 100).await?;
    let way = Proxy::before(&world.database_url).await?;
    let (api, paused) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().database_through(&way).into_future()
    )?;
    is_assigned(&paused, 4.0).await?;
    way.cut().await?;
    ask_in_order(&world, &api, "HEIRS", 0..20).await?;
    breaker_opens(&paused).await?;
    let heir = world.start_issue_consumer().await?;
    is_assigned(&heir, 2.0).await?;
    // Also while the breaker of the other is open: what has moved is consumed.
    eventually("the new owner consumes", SOON, async || -> Result<bool> {
        Ok(crate::issued(&world, "HEIRS").await? > 0)
    })
    .await?;
    paused.kill();
    issued_rows(&world, "HEIRS", 20, SOON * 2).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o3_partitions_that_went_while_paused_and_come_back_are_consumed() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BACK", 100).await?;
    let way = Proxy::before(&world.database_url).await?;
    let (api, first) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().database_through(&way).into_future()
    )?;
    is_assigned(&first, 4.0).await?;
    way.cut().await?;
    ask_in_order(&world, &api, "BACK", 0..20).await?;
    breaker_opens(&first).await?;
    eventually("all are paused", SOON, async || -> Result<bool> {
        Ok(first.metric("coupon_consumer_paused_partitions", "").await? == Some(4.0))
    })
    .await?;
    let second = world.start_issue_consumer().await?;
    is_assigned(&second, 2.0).await?;
    way.restore().await?;
    issued_rows(&world, "BACK", 20, SOON).await?;
    ensure!(second.terminate(SOON * 2).await?.success());
    is_assigned(&first, 4.0).await?;
    ask_in_order(&world, &api, "BACK", 20..40).await?;
    issued_rows(&world, "BACK", 40, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o4_a_stop_in_the_middle_of_a_back_off_ends_in_time_and_charges_nothing() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("STOPPED", 10).await?;
    let rule = world.fail_member("STOPPED", "unlucky", FailMode::Always).await?;
    let (api, consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    accepted(&world, &api, "STOPPED", "unlucky").await?;
    let third = |line: &LogLine| line.number_of("attempt") == Some(3);
    consumer.wait_for_log("a back-off of four seconds", SOON, third).await?;
    let stopped = std::time::Instant::now();
    assert!(consumer.terminate(SOON).await?.success());
    ensure!(stopped.elapsed() < Duration::from_secs(14), "drain 10 s and leave 3 s: {:?}", stopped.elapsed());
    assert_eq!(rule.executions().await?.len(), 3);
    assert!(world.dlq.read().await?.is_empty());
    let next = world.start_issue_consumer().await?;
    let letters = dead_letters(&world, 1, AFTER_ALL_ATTEMPTS).await?;
    assert_eq!(letters[0].header("x-coupon-attempts"), Some("4"), "the attempts begin anew");
    assert_eq!(rule.executions().await?.len(), 7);
    let attempts: Vec<_> = next.log().iter().filter_map(|line| line.number_of("attempt")).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    Ok(())
}
