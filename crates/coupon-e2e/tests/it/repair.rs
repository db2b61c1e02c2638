//! R: dead letters are attempted again, and compensated requests are given back.

use std::time::Duration;

use anyhow::{Context, Result};
use coupon_e2e::{
    failures::FailMode,
    oracle::Kind,
    wait::{eventually, stays},
    world::World,
};
use uuid::Uuid;

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, Services, issued_rows,
    write::{accepted, dead_letters},
};

async fn decision(world: &World, id: Uuid) -> Result<Option<String>> {
    let decision = sqlx::query_scalar("SELECT decision FROM coupon_issues WHERE request_id = $1");
    Ok(decision.bind(id).fetch_optional(&world.db).await?)
}

async fn failures(world: &World) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM failed_coupon_issues").fetch_one(&world.db).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r1_recovers_on_the_dlq_consumers_second_attempt_and_is_issued() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SECOND", 10).await?;
    // All four of issue-consumer, and the first of dlq-consumer.
    let rule = world.fail_member("SECOND", "unlucky", FailMode::Times(5)).await?;
    let services = Services::start(&world).await?;
    let id = accepted(&world, &services.api, "SECOND", "unlucky").await?.request_id.context("a request id")?;
    issued_rows(&world, "SECOND", 1, AFTER_ALL_ATTEMPTS).await?;
    assert_eq!(rule.executions().await?.len(), 6, "four attempts and two");
    assert_eq!(dead_letters(&world, 1, SOON).await?.len(), 1);
    assert_eq!(failures(&world).await?, 0);
    let attempts: i32 = sqlx::query_scalar("SELECT attempts FROM dlq_events").fetch_one(&world.db).await?;
    assert_eq!(attempts, 2, "it was recovered at the second");
    let failed = services
        .dlq_consumer
        .log()
        .into_iter()
        .filter(|line| line.is_about(id) && line.message().starts_with("attempt failed"));
    assert_eq!(failed.count(), 1);
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (1, 0, 9));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_final_failure_leaves_a_pending_row_the_unit_back_once_and_an_alarm() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FINAL", 1).await?;
    let rule = world.fail_member("FINAL", "unlucky", FailMode::Always).await?;
    let services = Services::start(&world).await?;
    let unlucky = world.member(&services.api, "unlucky")?;
    let id = accepted(&world, &services.api, "FINAL", "unlucky").await?.request_id.context("a request id")?;
    let next = world.member(&services.api, "next")?;
    assert!(next.ask("FINAL").await.is_refused_as(409, "SOLD_OUT"));
    let alarm = services.dlq_consumer.wait_for_log("the alarm", AFTER_ALL_ATTEMPTS, |line| {
        line.message().starts_with("[CRITICAL]") && line.is_about(id)
    });
    assert_eq!(alarm.await?.level(), "ERROR");
    let attempts = rule.executions().await?;
    assert_eq!(attempts.len(), 7, "four attempts and three");
    let gaps: Vec<i64> = attempts[4..].windows(2).map(|pair| (pair[1] - pair[0]).num_milliseconds()).collect();
    assert!(gaps[0] >= 1000 && gaps[1] >= 2000, "{gaps:?}");
    let (status, member): (String, String) =
        sqlx::query_as("SELECT status, member_id FROM failed_coupon_issues WHERE request_id = $1")
            .bind(id)
            .fetch_one(&world.db)
            .await?;
    assert_eq!((status.as_str(), member.as_str()), ("PENDING", "unlucky"));
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.compensated, verdict.stock), (1, 1));
    assert_eq!(world.stock.of("FINAL").await?.holder_of("unlucky"), None);
    assert_eq!(unlucky.status("FINAL", id).await.state, Some(coupon_e2e::answers::State::Compensated));
    accepted(&world, &services.api, "FINAL", "next").await?;
    issued_rows(&world, "FINAL", 1, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_the_same_dead_letter_five_times_gives_the_unit_back_once() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FIVE", 1).await?;
    world.fail_member("FIVE", "unlucky", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "FIVE", "unlucky").await?;
    eventually("the unit is back", SOON, async || -> Result<bool> {
        Ok(world.stock.of("FIVE").await?.left() == Some(1))
    })
    .await?;
    let next = accepted(&world, &services.api, "FIVE", "next").await?.request_id.context("a request id")?;
    let letter = dead_letters(&world, 1, SOON).await?.pop().context("the dead letter")?;
    world.dlq.write_all(&vec![letter.again(); 4]).await?;
    eventually("all five are done", SOON * 2, async || -> Result<bool> {
        let committed: i64 = world.dlq.committed(&world.group_of("dlq-consumer")).await?.values().sum();
        Ok(committed == 5)
    })
    .await?;
    stays("the unit stays with the next member", Duration::from_secs(2), async || -> Result<bool> {
        let stock = world.stock.of("FIVE").await?;
        Ok(stock.left() == Some(0) && stock.holder_of("next") == Some(next))
    })
    .await?;
    assert_eq!(failures(&world).await?, 1);
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_a_dead_letter_that_comes_again_takes_nothing_from_the_members_newer_request() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AGAIN", 1).await?;
    let rule = world.fail_member("AGAIN", "unlucky", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "AGAIN", "unlucky").await?;
    eventually("the unit is back", SOON, async || -> Result<bool> {
        Ok(world.stock.of("AGAIN").await?.left() == Some(1))
    })
    .await?;
    rule.lift().await?;
    let newer = accepted(&world, &services.api, "AGAIN", "unlucky").await?.request_id.context("a request id")?;
    issued_rows(&world, "AGAIN", 1, SOON).await?;
    let letter = dead_letters(&world, 1, SOON).await?.pop().context("the dead letter")?;
    world.dlq.write(&letter.again()).await?;
    eventually("both are done", SOON, async || -> Result<bool> {
        Ok(world.dlq.committed(&world.group_of("dlq-consumer")).await?.values().sum::<i64>() == 2)
    })
    .await?;
    stays("the holder entry stays with the newer request", Duration::from_secs(2), async || -> Result<bool> {
        let stock = world.stock.of("AGAIN").await?;
        Ok(stock.left() == Some(0) && stock.holder_of("unlucky") == Some(newer))
    })
    .await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (1, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r6_what_was_in_fact_issued_is_not_compensated_and_resolves_itself() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ISSUED", 10).await?;
    let services = Services::start(&world).await?;
    let id = accepted(&world, &services.api, "ISSUED", "lucky").await?.request_id.context("a request id")?;
    issued_rows(&world, "ISSUED", 1, SOON).await?;
    let event = world.topic.read().await?.pop().context("the event")?;
    // Each attempt to write it again fails, up to the moment of giving up.
    world.fail_member("ISSUED", "lucky", FailMode::Always).await?;
    world.dlq.write(&event.again()).await?;
    let done = async || -> Result<bool> {
        Ok(world.dlq.committed(&world.group_of("dlq-consumer")).await?.values().sum::<i64>() == 1)
    };
    eventually("the dead letter is done", AFTER_ALL_ATTEMPTS, done).await?;
    assert_eq!(decision(&world, id).await?.as_deref(), Some("ISSUED"));
    assert_eq!(world.stock.of("ISSUED").await?.holder_of("lucky"), Some(id));
    let pending: i64 = sqlx::query_scalar("SELECT count(*) FROM failed_coupon_issues WHERE status = 'PENDING'")
        .fetch_one(&world.db)
        .await?;
    assert_eq!(pending, 0);
    let letter: String = sqlx::query_scalar("SELECT status FROM dlq_events").fetch_one(&world.db).await?;
    assert_eq!(letter, "RECOVERED");
    // The dead letter was written by hand, without the headers of one.
    world.quiet(SOON, &[Kind::DeadLetterUnlabelled]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_late_duplicate_of_a_compensated_request_leaves_the_members_new_one_alone() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LATE", 1).await?;
    let rule = world.fail_member("LATE", "unlucky", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    let older = accepted(&world, &services.api, "LATE", "unlucky").await?.request_id.context("a request id")?;
    eventually("the unit is back", SOON, async || -> Result<bool> {
        Ok(world.stock.of("LATE").await?.left() == Some(1))
    })
    .await?;
    rule.lift().await?;
    let newer = accepted(&world, &services.api, "LATE", "unlucky").await?.request_id.context("a request id")?;
    assert_ne!(older, newer);
    issued_rows(&world, "LATE", 1, SOON).await?;
    let is_older =
        |record: &&coupon_e2e::kafka::record::Record| record.event().is_some_and(|event| event.request_id == older);
    let event = world.topic.read().await?.iter().find(is_older).context("the older event")?.again();
    let given_back: chrono::DateTime<chrono::Utc> = chrono::Utc::now();
    world.topic.write_all(&vec![event.clone(); 3]).await?;
    let letter = dead_letters(&world, 1, SOON).await?.pop().context("the dead letter")?;
    world.dlq.write(&letter.again()).await?;
    eventually("the give-back has run again", SOON * 2, async || -> Result<bool> {
        let again: Option<bool> =
            sqlx::query_scalar("SELECT given_back_at > $2 FROM coupon_issues WHERE request_id = $1")
                .bind(older)
                .bind(given_back)
                .fetch_one(&world.db)
                .await?;
        Ok(again == Some(true))
    })
    .await?;
    assert_eq!(decision(&world, older).await?.as_deref(), Some("COMPENSATED"));
    assert_eq!(decision(&world, newer).await?.as_deref(), Some("ISSUED"));
    assert_eq!(world.stock.of("LATE").await?.holder_of("unlucky"), Some(newer));
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (1, 1, 0));
    Ok(())
}
