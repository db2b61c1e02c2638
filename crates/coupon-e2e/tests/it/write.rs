//! W: events are written to PostgreSQL.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use coupon_e2e::{
    answers::Answer,
    failures::FailMode,
    kafka::record::{Event, NewRecord, Record},
    wait::{eventually, stays},
    world::World,
};

use crate::{AFTER_ALL_ATTEMPTS, SOON, issued_rows};

/// Waits until the dead letter topic holds so many records.
pub(crate) async fn dead_letters(world: &World, count: usize, within: Duration) -> Result<Vec<Record>> {
    eventually(&format!("{count} dead letters"), within, async || -> Result<Option<Vec<Record>>> {
        Ok(Some(world.dlq.read().await?).filter(|letters| letters.len() >= count))
    })
    .await
}

/// Asks for one coupon of a campaign and hands over the answer, which must be good.
pub(crate) async fn accepted(
    world: &World,
    api: &coupon_e2e::process::Process,
    code: &str,
    id: &str,
) -> Result<Answer> {
    let answer = world.member(api, id)?.ask(code).await;
    anyhow::ensure!(answer.is_held(), "{answer:?}");
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_fails_twice_then_works_is_issued_once_with_nothing_in_the_dlq() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("TWICE", 10).await?;
    let rule = world.fail_member("TWICE", "unlucky", FailMode::Times(2)).await?;
    let (api, _consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    accepted(&world, &api, "TWICE", "unlucky").await?;
    issued_rows(&world, "TWICE", 1, SOON).await?;
    assert_eq!(rule.executions().await?.len(), 3);
    assert!(world.dlq.read().await?.is_empty());
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w2_always_fails_has_exactly_four_attempts_with_their_gaps_and_one_dead_letter() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("NEVER", 10).await?;
    let rule = world.fail_member("NEVER", "unlucky", FailMode::Always).await?;
    let (api, consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    let id = accepted(&world, &api, "NEVER", "unlucky").await?.request_id.context("a request id")?;
    let letters = dead_letters(&world, 1, AFTER_ALL_ATTEMPTS).await?;
    assert_eq!(letters[0].event().context("the event")?.request_id, id);
    let attempts = rule.executions().await?;
    let gaps: Vec<TimeDelta> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(attempts.len(), 4);
    for (gap, at_least) in gaps.iter().zip([1, 2, 4]) {
        assert!(*gap >= TimeDelta::seconds(at_least), "gaps of {gaps:?}");
    }
    let failed: Vec<_> = consumer
        .log()
        .into_iter()
        .filter(|line| line.is_about(id) && line.message().starts_with("attempt failed"))
        .collect();
    let told: Vec<_> = failed
        .iter()
        .map(|line| (line.number_of("attempt"), line.number_of("max_attempts"), line.number_of("wait_ms")))
        .collect();
    let four = Some(4);
    assert_eq!(
        told,
        [(Some(1), four, Some(1000)), (Some(2), four, Some(2000)), (Some(3), four, Some(4000)), (four, four, None)]
    );
    stays("four attempts and one dead letter", Duration::from_secs(10), async || -> Result<bool> {
        Ok(rule.executions().await?.len() == 4 && world.dlq.read().await?.len() == 1)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w3_a_permanent_failure_has_one_attempt_and_is_dead_lettered_at_once() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("PERMANENT", 10).await?;
    let rule = world.fail_member("PERMANENT", "unlucky", FailMode::Permanently).await?;
    let (api, _consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    let answer = accepted(&world, &api, "PERMANENT", "unlucky").await?;
    let letters = dead_letters(&world, 1, SOON).await?;
    let attempts = rule.executions().await?;
    assert_eq!(attempts.len(), 1);
    assert_eq!(letters[0].event().context("the event")?.request_id, answer.request_id.context("a request id")?);
    assert_eq!(letters[0].header("x-coupon-attempts"), Some("1"));
    assert_eq!(letters[0].header("x-coupon-error-code"), Some("23514"));
    Ok(())
}

/// Lets members of these numbers ask, one after the other, so that their records stand in this order.
pub(crate) async fn ask_in_order(
    world: &World,
    api: &coupon_e2e::process::Process,
    code: &str,
    numbers: std::ops::Range<usize>,
) -> Result<()> {
    for number in numbers {
        accepted(world, api, code, &format!("member-{number}")).await?;
    }
    Ok(())
}

/// What no build of any version can read, from whoever may write to a topic.
pub(crate) fn unreadable() -> Vec<NewRecord> {
    vec![
        NewRecord::of("undecodable", "{\"version\":1"),
        NewRecord { key: Some(b"null value".to_vec()), ..NewRecord::default() },
        NewRecord::of("wrong types", r#"{"version":"1","request_id":7,"coupon_code":[],"member_id":{},"seq":true}"#),
        NewRecord::of("huge numbers", r#"{"version":1e400,"seq":123456789012345678901234567890}"#),
        NewRecord::of("deep nesting", "[".repeat(60_000)),
        NewRecord::of("duplicate keys", r#"{"version":1,"version":1}"#),
        NewRecord { key: Some(vec![0xff, 0xfe]), value: Some(vec![0xc3, 0x28]), ..NewRecord::default() },
        // The largest value that fits into a record of the main topic with its key and its overhead.
        NewRecord::of("1 MiB", vec![b'x'; 1024 * 1024 - 200]),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w9_what_cannot_be_decoded_is_dead_lettered_at_once_and_the_next_record_flows() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("GOOD", 10).await?;
    let newer = NewRecord::of("unknown version", Event::of("GOOD", "from-the-future", 1).to_json(2).to_string());
    let bad: Vec<NewRecord> = unreadable().into_iter().chain([newer]).collect();
    let everywhere: Vec<NewRecord> =
        (0..4).flat_map(|partition| bad.iter().map(move |record| record.clone().in_partition(partition))).collect();
    world.topic.write_all(&everywhere).await?;
    let (api, _consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    let members = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for member in members {
        accepted(&world, &api, "GOOD", member).await?;
    }
    issued_rows(&world, "GOOD", 8, SOON).await?;
    let letters = dead_letters(&world, everywhere.len(), SOON).await?;
    assert_eq!(letters.len(), everywhere.len());
    for record in &bad {
        let copies = letters.iter().filter(|letter| (&letter.key, &letter.value) == (&record.key, &record.value));
        assert_eq!(copies.count(), 4, "{:?}", record.key.as_deref().map(String::from_utf8_lossy));
    }
    // Reading a record is no attempt at writing it, and nothing waits for a second one.
    assert!(letters.iter().all(|letter| matches!(letter.header("x-coupon-attempts"), Some("0" | "1"))), "{letters:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w10_a_batch_with_one_bad_row_writes_the_others() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BATCH", 50).await?;
    world.fail_member("BATCH", "member-7", FailMode::Permanently).await?;
    let api = world.start_api().await?;
    for number in 0..50 {
        accepted(&world, &api, "BATCH", &format!("member-{number}")).await?;
    }
    let _consumer = world.start_issue_consumer().await?;
    issued_rows(&world, "BATCH", 49, SOON).await?;
    let letters = dead_letters(&world, 1, SOON).await?;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].event().context("the event")?.member_id, "member-7");
    let statements: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT decided_at) FROM coupon_issues").fetch_one(&world.db).await?;
    assert!(statements < 49, "the rows were written one by one: {statements} statements");
    Ok(())
}
