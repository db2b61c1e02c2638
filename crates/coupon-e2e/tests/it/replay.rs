//! P: replays of failed requests.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::record::{Event, NewRecord},
    oracle::Kind,
    process::{Process, command::Output},
    wait::eventually,
    world::World,
};
use uuid::Uuid;

use crate::{SOON, Services, issued_rows, write::accepted};

/// Runs `dlq-consumer replay` with these arguments.
pub(crate) async fn replay(world: &World, words: &[&str]) -> Result<Output> {
    world.run("dlq-consumer", &[&["replay", "--reason", "mended", "--by", "olga", "--yes"], words].concat()).await
}

/// Lets the requests of these members be compensated, and returns their ids; then nothing fails any more.
pub(crate) async fn given_up(world: &World, api: &Process, code: &str, members: &[&str]) -> Result<Vec<Uuid>> {
    let mut ids = Vec::new();
    for member in members {
        let rule = world.fail_member(code, member, FailMode::Permanently).await?;
        let id = accepted(world, api, code, member).await?.request_id.context("a request id")?;
        eventually("the unit is back", SOON, async || -> Result<bool> {
            let back = sqlx::query_scalar("SELECT given_back_at IS NOT NULL FROM coupon_issues WHERE request_id = $1");
            Ok(back.bind(id).fetch_optional(&world.db).await?.unwrap_or(false))
        })
        .await?;
        rule.lift().await?;
        ids.push(id);
    }
    Ok(ids)
}

pub(crate) async fn statuses(world: &World) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT status FROM failed_coupon_issues ORDER BY id").fetch_all(&world.db).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_a_foreign_redrive_of_a_compensated_record_issues_nothing_and_leaves_the_stock() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FOREIGN", 3).await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services.api, "FOREIGN", &["unlucky"]).await?;
    let record = world.topic.read().await?.pop().context("the event")?;
    world.topic.write(&record.again()).await?;
    world.dlq.write(&record.again()).await?;
    // What comes after it has been consumed after it: all of it has one key.
    let event = record.event().context("an event")?;
    let later = Event::of("FOREIGN", &event.member_id, 2);
    world.topic.write(&NewRecord::event(&later)).await?;
    issued_rows(&world, "FOREIGN", 1, SOON).await?;
    world.stock.set_holder("FOREIGN", "unlucky", Some(later.request_id)).await?;
    let verdict = world.quiet(SOON, &[Kind::DeadLetterUnlabelled]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (1, 1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p2_with_stock_left_a_replay_is_issued_and_the_row_resolved() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("STOCK", 5).await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services.api, "STOCK", &["one", "two", "three"]).await?;
    let dry = world.run("dlq-consumer", &["replay", "--coupon", "STOCK", "--dry-run", "--output", "json"]).await?;
    ensure!(!dry.stderr.contains("SOLD_OUT"), "five are left: {dry:?}");
    let plan: serde_json::Value = serde_json::from_str(&dry.succeeded()?)?;
    assert_eq!((plan["eligible"].as_i64(), plan["refused"].as_object().map(serde_json::Map::len)), (Some(3), Some(0)));
    let jobs: i64 = sqlx::query_scalar("SELECT (SELECT count(*) FROM replay_jobs) + (SELECT count(*) FROM replays)")
        .fetch_one(&world.db)
        .await?;
    assert_eq!((jobs, world.stock.of("STOCK").await?.left()), (0, Some(5)), "a dry run writes nothing");

    replay(&world, &["--coupon", "STOCK"]).await?.succeeded()?;
    issued_rows(&world, "STOCK", 3, SOON).await?;
    assert_eq!(statuses(&world).await?, ["RESOLVED", "RESOLVED", "RESOLVED"]);
    let status = world.run("dlq-consumer", &["replay", "status"]).await?.succeeded()?;
    ensure!(status.contains("DONE") && status.contains("olga"), "{status}");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (3, 3, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p3_sold_out_is_an_answer_and_the_row_stays_pending() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FULL", 1).await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services.api, "FULL", &["unlucky"]).await?;
    accepted(&world, &services.api, "FULL", "next").await?;
    issued_rows(&world, "FULL", 1, SOON).await?;
    let dry = world.run("dlq-consumer", &["replay", "--coupon", "FULL", "--dry-run"]).await?;
    ensure!(dry.stderr.contains("FULL has 0 left now, so 1 of them would end SOLD_OUT"), "{dry:?}");
    let refused = replay(&world, &["--coupon", "FULL"]).await?;
    ensure!(refused.code == Some(1) && refused.stdout.contains("SOLD_OUT"), "{refused:?}");
    assert_eq!(statuses(&world).await?, ["PENDING"]);
    let counted: i32 = sqlx::query_scalar("SELECT replay_count FROM failed_coupon_issues").fetch_one(&world.db).await?;
    assert_eq!(counted, 0, "a refusal is none of the three");
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p4_replayed_twice_at_once_there_is_one_coupon() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("TWICE", 5).await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services.api, "TWICE", &["one", "two"]).await?;
    let (first, second) = tokio::join!(replay(&world, &["--coupon", "TWICE"]), replay(&world, &["--coupon", "TWICE"]));
    let (first, second) = (first?, second?);
    ensure!(first.code.is_some() && second.code.is_some(), "{first:?} {second:?}");
    eventually("both rows are resolved", SOON, async || -> Result<bool> {
        Ok(statuses(&world).await? == ["RESOLVED", "RESOLVED"])
    })
    .await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (2, 3));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_the_third_replay_is_the_last() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("THRICE", 5).await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services.api, "THRICE", &["unlucky"]).await?;
    world.fail_member("THRICE", "unlucky", FailMode::Permanently).await?;
    let root = "SELECT id::text FROM failed_coupon_issues WHERE replay_of IS NULL";
    let root: String = sqlx::query_scalar(root).fetch_one(&world.db).await?;
    for _ in 0..3 {
        let failed = replay(&world, &[&root]).await?;
        ensure!(failed.code == Some(1) && failed.stdout.contains("COMPENSATED"), "{failed:?}");
    }
    let fourth = replay(&world, &[&root]).await?;
    ensure!(fourth.code == Some(1) && fourth.stderr.contains("TOO_OFTEN 1"), "{fourth:?}");
    let pending: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM failed_coupon_issues WHERE status = 'PENDING'").fetch_all(&world.db).await?;
    assert_eq!(pending.len(), 1, "the row itself stays, its replays are none of their own");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (0, 4, 5));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p7_after_the_end_of_a_campaign_only_with_after_close_and_audited() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("OVER", 5).await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services.api, "OVER", &["unlucky"]).await?;
    world.coupon(&["close", "OVER"]).await?.succeeded()?;
    let refused = replay(&world, &["--coupon", "OVER"]).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("CAMPAIGN_OVER 1"), "{refused:?}");
    replay(&world, &["--coupon", "OVER", "--after-close"]).await?.succeeded()?;
    assert_eq!(statuses(&world).await?, ["RESOLVED"]);
    let audited: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM operator_audit WHERE actor = 'olga' AND verb = 'replay' AND change ->> 'after_close' = 'true'",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!(audited, 1);
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (1, 4));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_held_and_parked_records_are_replayed_with_their_own_id() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("HELD", 5).await?;
    let rule = world.fail_campaign("HELD", FailMode::Permanently).await?;
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("give_up.burst", 0).set("give_up.per_second", 0).into_future()
    )?;
    let held = accepted(&world, &api, "HELD", "patient").await?.request_id.context("a request id")?;
    // Of a campaign that is created only later.
    let parked = Event::of("LATE", "early", 1);
    world.dlq.write(&NewRecord::event(&parked)).await?;
    eventually("one is held, one parked", SOON, async || -> Result<bool> {
        let found: Vec<String> =
            sqlx::query_scalar("SELECT status FROM dlq_events ORDER BY status").fetch_all(&world.db).await?;
        Ok(found == ["HELD", "PARKED"])
    })
    .await?;
    rule.lift().await?;
    world.open_campaign("LATE", 5).await?;
    world.stock.set_holder("LATE", "early", Some(parked.request_id)).await?;
    replay(&world, &["--dead-letters"]).await?.succeeded()?;
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT request_id FROM coupon_issues WHERE decision = 'ISSUED'")
        .fetch_all(&world.db)
        .await?;
    assert!(ids.len() == 2 && ids.contains(&held) && ids.contains(&parked.request_id), "{ids:?}");
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE status <> 'RECOVERED'").fetch_one(&world.db).await?;
    assert_eq!(left, 0);
    let reasons: Vec<String> =
        sqlx::query_scalar("SELECT reason FROM operator_audit WHERE subject LIKE 'dlq_events/%'")
            .fetch_all(&world.db)
            .await?;
    ensure!(reasons.len() == 2 && reasons.iter().all(|reason| reason.ends_with("; replay 1: mended")), "{reasons:?}");
    world.quiet(SOON, &[Kind::DeadLetterUnlabelled, Kind::IssuedFromNothing]).await?;
    Ok(())
}
