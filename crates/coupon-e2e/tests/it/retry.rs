//! W: retries delay no other record.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::record::NewRecord,
    process::{Process, logs::LogLine},
    wait::{eventually, stays},
    world::World,
};

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, issued_rows,
    write::{accepted, ask_in_order, dead_letters},
};

/// The committed offset of the only partition, 0 if there is none.
async fn committed(world: &World) -> Result<i64> {
    Ok(world.topic.committed(&world.group_of("issue-consumer")).await?.get(&0).copied().unwrap_or(0))
}

async fn committed_reaches(world: &World, offset: i64) -> Result<()> {
    let reached = async || -> Result<bool> { Ok(committed(world).await? == offset) };
    eventually(&format!("offset {offset} is committed"), SOON, reached).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w4_the_first_and_the_last_record_of_a_topic_are_poison() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("BETWEEN", 10).await?;
    let api = world.start_api().await?;
    world.topic.write(&NewRecord::of("first", "poison")).await?;
    ask_in_order(&world, &api, "BETWEEN", 0..5).await?;
    world.topic.write(&NewRecord::of("last", "poison")).await?;
    let (_issue, _dlq) =
        tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    issued_rows(&world, "BETWEEN", 5, SOON).await?;
    let mut keys: Vec<_> = dead_letters(&world, 2, SOON).await?.into_iter().map(|letter| letter.key).collect();
    keys.sort();
    assert_eq!(keys, [Some(b"first".to_vec()), Some(b"last".to_vec())]);
    committed_reaches(&world, 7).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w5_failures_of_different_records_never_add_up() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("MANY", 12).await?;
    // Each fails at its first two attempts, after 0 and 1 s; the third comes after 3 s.
    for number in 0..12 {
        world.fail_member("MANY", &format!("member-{number}"), FailMode::For(Duration::from_millis(2900))).await?;
    }
    let (api, consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    ask_in_order(&world, &api, "MANY", 0..12).await?;
    issued_rows(&world, "MANY", 12, SOON * 2).await?;
    let attempts: Vec<i64> = failed_attempts(&consumer).iter().filter_map(|line| line.number_of("attempt")).collect();
    assert!(attempts.len() >= 12 && attempts.iter().all(|attempt| *attempt <= 2), "{attempts:?}");
    assert!(world.dlq.read().await?.is_empty());
    world.quiet(SOON, &[]).await?;
    Ok(())
}

fn failed_attempts(consumer: &Process) -> Vec<LogLine> {
    consumer.log().into_iter().filter(|line| line.message().starts_with("attempt failed")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w6_two_hundred_failing_records_have_eight_hundred_attempts_and_delay_nobody() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("BAD", 200).await?;
    world.open_campaign("GOOD", 20).await?;
    world.fail_campaign("BAD", FailMode::Always).await?;
    let api = world.start_api().await?;
    ask_in_order(&world, &api, "BAD", 0..200).await?;
    ask_in_order(&world, &api, "GOOD", 0..20).await?;
    let consumer = world.start_issue_consumer().await?;
    issued_rows(&world, "GOOD", 20, SOON).await?;
    assert!(world.dlq.read().await?.is_empty(), "the healthy ones waited for the failing ones");
    let letters = dead_letters(&world, 200, AFTER_ALL_ATTEMPTS).await?;
    assert!(letters.iter().all(|letter| letter.header("x-coupon-attempts") == Some("4")));
    committed_reaches(&world, 220).await?;
    let (all, succeeded) =
        (consumer.metric("coupon_attempts_total", "").await?, consumer.metric("coupon_attempts_total", "OK").await?);
    let failed = all.context("attempts")? - succeeded.context("successes")?;
    assert!((700.0..=800.0).contains(&failed), "{failed} attempts");
    assert_eq!(letters.len(), 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w7_the_committed_offset_stays_below_a_stuck_record_and_a_restart_repeats_nothing_visible() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("STUCK", 21).await?;
    let rule = world.fail_member("STUCK", "stuck", FailMode::Always).await?;
    let api = world.start_api().await?;
    accepted(&world, &api, "STUCK", "stuck").await?;
    ask_in_order(&world, &api, "STUCK", 0..20).await?;
    // From its first attempt it is stuck for seven seconds.
    let consumer = world.start_issue_consumer().await?;
    issued_rows(&world, "STUCK", 20, SOON).await?;
    let before = decisions(&world).await?;
    // Offsets are committed every second.
    stays("nothing is committed above it", Duration::from_millis(2500), async || -> Result<bool> {
        Ok(committed(&world).await? == 0)
    })
    .await?;
    assert!(consumer.metric("coupon_consumer_watermark_lag_records", "").await?.is_some_and(|lag| lag >= 21.0));
    assert!(consumer.terminate(SOON * 2).await?.success());
    assert_eq!(committed(&world).await?, 0, "not at the end either");
    rule.lift().await?;
    let _consumer = world.start_issue_consumer().await?;
    issued_rows(&world, "STUCK", 21, SOON).await?;
    committed_reaches(&world, 21).await?;
    let after = decisions(&world).await?;
    assert!(before.iter().all(|row| after.contains(row)), "a row was written anew");
    assert!(world.dlq.read().await?.is_empty());
    world.quiet(SOON, &[]).await?;
    Ok(())
}

/// Each decision with the transaction that wrote its row.
async fn decisions(world: &World) -> Result<Vec<(String, String)>> {
    let rows = sqlx::query_as("SELECT member_id, xmin::text FROM coupon_issues ORDER BY member_id");
    Ok(rows.fetch_all(&world.db).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w8_a_full_window_pauses_the_partition_and_the_member_stays_in_the_group() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("BAD", 10).await?;
    world.open_campaign("GOOD", 5).await?;
    world.fail_campaign("BAD", FailMode::Always).await?;
    let api = world.start_api().await?;
    ask_in_order(&world, &api, "BAD", 0..10).await?;
    ask_in_order(&world, &api, "GOOD", 0..5).await?;
    // A member that does not poll for seven seconds is thrown out; the attempts alone take that long.
    let consumer = world
        .start_issue_consumer()
        .set("consumer.window_per_partition", 10)
        .set("kafka.properties.max.poll.interval.ms", 7000)
        .await?;
    eventually("the partition is paused", SOON, async || -> Result<bool> {
        let paused = consumer.metric("coupon_consumer_paused_partitions", "").await?;
        let fill = consumer.metric("coupon_consumer_window_fill_ratio", "").await?;
        Ok(paused == Some(1.0) && fill == Some(1.0))
    })
    .await?;
    assert_eq!(crate::issued(&world, "GOOD").await?, 0, "they are behind the window");
    dead_letters(&world, 10, AFTER_ALL_ATTEMPTS).await?;
    issued_rows(&world, "GOOD", 5, SOON).await?;
    assert!(!consumer.log_contains("partitions revoked"), "it left the group");
    committed_reaches(&world, 15).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w11_a_handler_that_panics_is_an_attempt_and_then_a_dead_letter() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("PANIC", 2).await?;
    let (api, consumer, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().env("COUPON_PANIC_AT", "attempt:before").into_future(),
        world.start_dlq_consumer().into_future()
    )?;
    accepted(&world, &api, "PANIC", "startled").await?;
    let letters = dead_letters(&world, 1, AFTER_ALL_ATTEMPTS).await?;
    assert_eq!(letters[0].header("x-coupon-error-code"), Some("PANIC"));
    assert_eq!(letters[0].header("x-coupon-attempts"), Some("4"));
    let waits: Vec<_> = failed_attempts(&consumer).iter().map(|line| line.number_of("wait_ms")).collect();
    assert_eq!(waits, [Some(1000), Some(2000), Some(4000), None]);
    issued_rows(&world, "PANIC", 1, SOON).await?;
    committed_reaches(&world, 1).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (1, 0), "{verdict}");
    let status = consumer.terminate(SOON).await.context("a panic of a handler ends nothing")?;
    ensure!(status.success(), "{status}");
    Ok(())
}
