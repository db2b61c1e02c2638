//! Topics that are deleted and made anew while they are consumed, and records that are none.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::{
        DLQ_SETTINGS,
        record::{Event, NewRecord},
    },
    oracle::Kind,
    wait::eventually,
    world::World,
};

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, Services, issued_rows,
    rebuild::rebuild,
    reconcile::reconcile,
    write::{accepted, dead_letters},
};

/// Writes an event that Redis knows, so that a row of it is no drift.
async fn publish(world: &World, code: &str, member: &str, seq: i64) -> Result<()> {
    let event = Event::of(code, member, seq);
    world.stock.set_holder(code, member, Some(event.request_id)).await?;
    world.topic.write(&NewRecord::event(&event)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_topic_made_anew_under_its_consumer_is_read_from_its_beginning() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("ANEW", 100).await?;
    let (issue, _dlq) =
        tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    for number in 0..30 {
        publish(&world, "ANEW", &format!("old-{number}"), number + 1).await?;
    }
    issued_rows(&world, "ANEW", 30, SOON).await?;
    let group = world.group_of("issue-consumer");
    let committed = async |offset: i64| {
        eventually(&format!("{offset} is committed"), SOON, async || -> Result<bool> {
            Ok(world.topic.committed(&group).await?.get(&0) == Some(&offset))
        })
        .await
    };
    committed(30).await?;
    world.topic.delete().await?;
    world.topic.create(1, &[]).await?;
    for number in 0..10 {
        publish(&world, "ANEW", &format!("new-{number}"), number + 31).await?;
    }
    issued_rows(&world, "ANEW", 40, SOON * 2).await?;
    issue.wait_for_log("somebody is told", SOON, |line| line.text.contains("was made anew")).await?;
    // A restart goes on where the new log is done, not where the old one was.
    committed(10).await?;
    ensure!(issue.metric("coupon_partitions_rewound_total", "").await?.is_some_and(|times| times >= 1.0));
    for number in 10..40 {
        publish(&world, "ANEW", &format!("new-{number}"), number + 31).await?;
    }
    issued_rows(&world, "ANEW", 70, SOON).await?;
    committed(40).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b7_a_dead_letter_topic_made_anew_under_its_consumer_is_read_from_its_beginning() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("LETTERS", 100).await?;
    let services = Services::start(&world).await?;
    for number in 0..6 {
        let member = format!("old-{number}");
        let rule = world.fail_member("LETTERS", &member, FailMode::Permanently).await?;
        accepted(&world, &services.api, "LETTERS", &member).await?;
        dead_letters(&world, number + 1, AFTER_ALL_ATTEMPTS).await?;
        rule.lift().await?;
    }
    let group = world.group_of("dlq-consumer");
    eventually("all are done", AFTER_ALL_ATTEMPTS, async || -> Result<bool> {
        Ok(world.dlq.committed(&group).await?.get(&0) == Some(&6))
    })
    .await?;
    world.dlq.delete().await?;
    world.dlq.create(1, DLQ_SETTINGS).await?;
    let before: i64 = sqlx::query_scalar("SELECT count(*) FROM dlq_events").fetch_one(&world.db).await?;
    for number in 0..3 {
        world.dlq.write(&NewRecord::of("k", format!("no event {number}"))).await?;
    }
    eventually("each is put down", SOON * 2, async || -> Result<bool> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM dlq_events").fetch_one(&world.db).await?;
        Ok(count == before + 3)
    })
    .await?;
    services.dlq_consumer.wait_for_log("somebody is told", SOON, |line| line.text.contains("was made anew")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_a_record_of_a_transaction_is_passed_and_a_rebuild_ends() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("MARKED", 10).await?;
    // Offsets that stand still for half of that are read, to see whether they are records.
    let consumers = [world.start_issue_consumer(), world.start_dlq_consumer()]
        .map(|launch| launch.set("lag.stalled_after_ms", 2000));
    let [issue, dlq] = consumers.map(IntoFuture::into_future);
    let (api, issue, dlq) = tokio::try_join!(world.start_api().into_future(), issue, dlq)?;
    accepted(&world, &api, "MARKED", "somebody").await?;
    issued_rows(&world, "MARKED", 1, SOON).await?;
    let copy = world.topic.read().await?.pop().context("the event")?.again();
    world.topic.write_in_a_transaction(&copy).await?;
    world.dlq.write_in_a_transaction(&copy).await?;
    let group = world.group_of("issue-consumer");
    eventually("the copy is done", SOON, async || -> Result<bool> {
        Ok(world.topic.committed(&group).await?.get(&0) == Some(&2))
    })
    .await?;
    let agrees = reconcile(&world, &["MARKED", "--wait", "10"]).await?;
    ensure!(agrees.code == Some(0) && !agrees.stderr.contains("could not be judged"), "{agrees:?}");
    rebuild(&world, "MARKED").await?.succeeded()?;
    for process in [&issue, &dlq] {
        let mut none_since = None;
        // Longer than between two looks: before the first one after the marker there is no lag either.
        eventually("the marker is no lag, and stays none", SOON * 2, async || -> Result<bool> {
            let is_none = process.metric("coupon_group_lag_records", "").await? == Some(0.0);
            none_since = is_none.then(|| none_since.unwrap_or_else(Instant::now));
            Ok(none_since.is_some_and(|since| since.elapsed() >= Duration::from_secs(6)))
        })
        .await?;
    }
    // The copy that was written by hand has no headers of a dead letter.
    world.quiet(SOON, &[Kind::DeadLetterUnlabelled]).await?;
    Ok(())
}
