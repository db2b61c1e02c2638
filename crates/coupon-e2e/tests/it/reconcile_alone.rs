//! What the comparison that runs by itself does, and what it does not claim to know.

use anyhow::{Result, ensure};
use coupon_e2e::{wait::eventually, world::World};
use serde_json::Value;

use crate::{SOON, issued_rows, reconcile::reconcile, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconciliation_that_could_not_judge_says_so_and_never_that_they_agree() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("UNREAD", 10).await?;
    let api = world.start_api().await?;
    accepted(&world, &api, "UNREAD", "somebody").await?;
    let json = reconcile(&world, &["UNREAD", "--wait", "0"]).await?;
    let reports: Value = serde_json::from_str(&json.stdout)?;
    assert_eq!((json.code, reports[0]["verdict"].as_str()), (Some(4), Some("UNJUDGED")), "{json:?}");
    let table = world.run("dlq-consumer", &["reconcile", "UNREAD", "--wait", "0"]).await?;
    ensure!(table.code == Some(4) && !table.stderr.contains("agree"), "{table:?}");
    ensure!(table.stderr.contains("1 requests could not be judged"), "{table:?}");
    // The service alike.
    let dlq = world.start_dlq_consumer().set("reconcile.every_ms", 1000).set("reconcile.wait_ms", 0).await?;
    eventually("it is measured", SOON, async || -> Result<bool> {
        Ok(dlq.metric("coupon_reconcile_unjudged", "").await? == Some(1.0))
    })
    .await?;
    let _issue = world.start_issue_consumer().await?;
    issued_rows(&world, "UNREAD", 1, SOON).await?;
    eventually("it is judged", SOON, async || -> Result<bool> {
        Ok(dlq.metric("coupon_reconcile_unjudged", "").await? == Some(0.0))
    })
    .await?;
    let judged = reconcile(&world, &["UNREAD"]).await?;
    let reports: Value = serde_json::from_str(&judged.stdout)?;
    assert_eq!((judged.code, reports[0]["verdict"].as_str()), (Some(0), Some("AGREE")), "{judged:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_with_a_topic_is_found_and_published_again_by_the_service_itself() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LOST", 20).await?;
    let api = world.start_api().await?;
    for number in 0..8 {
        accepted(&world, &api, "LOST", &format!("early-{number}")).await?;
    }
    world.topic.delete_records().await?;
    // Whatever else differs, only a wrong counter may keep them waiting.
    world.stock.set_meta("LOST", &[("opens_at", "1")]).await?;
    let (_issue, dlq) = tokio::try_join!(
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("reconcile.every_ms", 1000).into_future()
    )?;
    issued_rows(&world, "LOST", 8, SOON * 2).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (8, 0, 12));
    let message: String = sqlx::query_scalar("SELECT message FROM alarm_notices WHERE cause = 'REQUEUED LOST'")
        .fetch_one(&world.db)
        .await?;
    ensure!(message.starts_with("8 accepted requests of LOST"), "{message}");
    // Nobody has to do anything for these members.
    let line = |line: &coupon_e2e::process::logs::LogLine| {
        line.message().starts_with("[WARNING] 8 accepted requests of LOST")
            && line.text_of("severity").as_deref() == Some("WARNING")
    };
    dlq.wait_for_log("somebody is told, and not woken", SOON, line).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_published_again_by_itself_while_the_counter_would_have_it_compensated() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("COUNTED", 4).await?;
    let (api, _issue) = tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    for number in 0..4 {
        accepted(&world, &api, "COUNTED", &format!("early-{number}")).await?;
    }
    issued_rows(&world, "COUNTED", 4, SOON).await?;
    // By hand, and without the counter: published again, it would meet the cap.
    sqlx::query("DELETE FROM coupon_issues WHERE member_id = 'early-2'").execute(&world.db).await?;
    let _dlq = world.start_dlq_consumer().set("reconcile.every_ms", 1000).await?;
    eventually("it is told", SOON, async || -> Result<bool> {
        let told: i64 = sqlx::query_scalar("SELECT count(*) FROM alarm_notices WHERE cause = 'DRIFT COUNTED'")
            .fetch_one(&world.db)
            .await?;
        Ok(told > 0)
    })
    .await?;
    reconcile(&world, &["COUNTED", "--apply"]).await?;
    issued_rows(&world, "COUNTED", 4, SOON).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (4, 0));
    Ok(())
}
