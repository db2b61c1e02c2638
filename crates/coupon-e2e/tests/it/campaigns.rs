//! A, between PostgreSQL and Redis: campaigns that are not open yet, that were made anew, that Redis half forgot; and the
//! relay between two processes.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{answers::Answer, wait::eventually, world::World};
use tokio::task::JoinSet;

use crate::{SOON, accept::published, issued_rows, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_a_rush_on_a_campaign_that_nobody_has_opened_yet_is_told_so() -> Result<()> {
    let world = World::new().await?;
    world.create_campaign("DRAFT", 10, &[]).await?;
    let api = world.start_api().await?;
    // The first connection to PostgreSQL takes its time.
    let first = world.member(&api, "first")?;
    eventually("it is told", SOON, async || first.ask("DRAFT").await.is_refused_as(409, "NOT_OPEN")).await?;
    let mut asking = JoinSet::new();
    for number in 0..200 {
        let member = world.member(&api, &format!("member-{number}"))?;
        asking.spawn(async move { member.ask("DRAFT").await });
    }
    let answers = asking.join_all().await;
    let others: Vec<&Answer> = answers
        .iter()
        .filter(|answer| !(answer.is_refused_as(409, "NOT_OPEN") && answer.retry_after.is_some()))
        .collect();
    ensure!(others.is_empty(), "{others:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_a_redis_behind_the_events_is_noticed_by_a_process_that_has_seen_nothing_itself() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BEHIND", 100).await?;
    {
        let (api, _issue) =
            tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
        for number in 0..10 {
            accepted(&world, &api, "BEHIND", &format!("member-{number}")).await?;
        }
        issued_rows(&world, "BEHIND", 10, SOON).await?;
    }
    // Redis comes back as it was five reservations ago.
    for number in 5..10 {
        world.stock.set_holder("BEHIND", &format!("member-{number}"), None).await?;
    }
    world.stock.set_meta("BEHIND", &[("seq", "5")]).await?;
    let api = world.start_api().await?;
    let member = world.member(&api, "newcomer")?;
    eventually("the gate closes", SOON, async || member.ask("BEHIND").await.is_refused_as(503, "GATE_CLOSED")).await?;
    assert_eq!(world.stock.of("BEHIND").await?.meta["status"], "SUSPECT");
    api.wait_for_log("somebody is told", SOON, |line| line.message().starts_with("[CRITICAL]")).await?;
    eventually("PostgreSQL knows", SOON, async || -> Result<bool> {
        let status: String = sqlx::query_scalar("SELECT status FROM coupons").fetch_one(&world.db).await?;
        Ok(status == "SUSPECT")
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_a_campaign_made_anew_does_not_take_over_what_redis_holds_of_its_forerunner() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SPRING", 1000).await?;
    let api = world.start_api().await?;
    accepted(&world, &api, "SPRING", "somebody").await?;
    // PostgreSQL was made anew, Redis was not.
    sqlx::query("DELETE FROM coupons").execute(&world.db).await?;
    world.create_campaign("SPRING", 5, &[]).await?;
    // However often somebody tries.
    for _ in 0..2 {
        let refused = world.coupon(&["open", "SPRING"]).await?;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("an earlier campaign of this name"), "{refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_the_relay_of_another_process_leaves_young_promises_alone() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("YOUNG", 50).await?;
    // One takes its time to publish, within the age at which the relay publishes an outbox entry; the other looks all the time.
    let slow = world.start_api().set("kafka.properties.linger.ms", 700).set("outbox.min_age_ms", 20_000).await?;
    let _eager = world.start_api().set("outbox.interval_ms", 50).set("outbox.min_age_ms", 20_000).await?;
    let mut asking = JoinSet::new();
    for number in 0..50 {
        let member = world.member(&slow, &format!("member-{number}"))?;
        asking.spawn(async move { member.ask("YOUNG").await });
    }
    let answers = asking.join_all().await;
    let ids: Vec<_> = answers.iter().filter(|answer| answer.is_held()).filter_map(|answer| answer.request_id).collect();
    assert_eq!(ids.len(), 50);
    published(&world, &ids, Duration::from_secs(15)).await?;
    assert_eq!(world.topic.read().await?.len(), 50, "somebody published again what was on its way");
    Ok(())
}
