//! C4, and what a rebuild refuses.

use anyhow::{Result, ensure};
use coupon_e2e::{failures::FailMode, process::command::Output, wait::eventually, world::World};

use crate::{SOON, Services, issued_rows, write::accepted};

pub(crate) async fn status(world: &World, code: &str) -> Result<String> {
    let status = sqlx::query_scalar("SELECT status FROM coupons WHERE coupon_code = $1");
    Ok(status.bind(code).fetch_one(&world.db).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_redis_flushed_the_gate_closes_and_a_rebuild_opens_it_again() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FLUSHED", 30).await?;
    let services = Services::start(&world).await?;
    for number in 0..20 {
        accepted(&world, &services.api, "FLUSHED", &format!("early-{number}")).await?;
    }
    issued_rows(&world, "FLUSHED", 20, SOON).await?;
    world.stock.flush().await?;
    let late = world.member(&services.api, "late")?;
    ensure!(late.ask("FLUSHED").await.status == Some(503), "nothing is sold from nothing");
    eventually("the campaign is suspect", SOON, async || -> Result<bool> {
        Ok(status(&world, "FLUSHED").await? == "SUSPECT")
    })
    .await?;
    ensure!(late.ask("FLUSHED").await.status == Some(503));
    let rebuilt = world.run("dlq-consumer", &["rebuild", "FLUSHED", "--yes", "--by", "olga"]).await?;
    ensure!(rebuilt.code == Some(0) && rebuilt.stderr.contains("rebuilt and OPEN"), "{rebuilt:?}");
    let stock = world.stock.of("FLUSHED").await?;
    assert_eq!((stock.left(), stock.number("epoch")), (Some(10), Some(2)));
    for number in 0..10 {
        accepted(&world, &services.api, "FLUSHED", &format!("late-{number}")).await?;
    }
    ensure!(late.ask("FLUSHED").await.is_refused_as(409, "SOLD_OUT"));
    issued_rows(&world, "FLUSHED", 30, SOON).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (30, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_waits_for_what_is_under_way_and_refuses_while_requests_are_held() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("WAITS", 10).await?;
    world.fail_member("WAITS", "patient", FailMode::Permanently).await?;
    let api = world.start_api().await?;
    for member in ["somebody", "patient"] {
        accepted(&world, &api, "WAITS", member).await?;
    }
    let rebuild = async |wait: &str| {
        world.run("dlq-consumer", &["rebuild", "WAITS", "--yes", "--by", "olga", "--wait", wait]).await
    };
    let behind = rebuild("1").await?;
    ensure!(behind.code == Some(4) && behind.stderr.contains("is it running?"), "{behind:?}");
    assert_eq!(status(&world, "WAITS").await?, "OPEN", "as it was");

    let (_issue, _dlq) = tokio::try_join!(
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("give_up.burst", 0).set("give_up.per_second", 0).into_future()
    )?;
    let held = rebuild("30").await?;
    let letter: i64 = sqlx::query_scalar("SELECT id FROM dlq_events").fetch_one(&world.db).await?;
    let letter = format!("D{letter}");
    ensure!(held.code == Some(1) && held.stderr.contains("1 requests of WAITS are held"), "{held:?}");
    ensure!(
        held.stderr.contains("`dlq-consumer compensate --coupon WAITS --up-to ID --reason WHY --by NAME`"),
        "{held:?}"
    );
    world
        .run(
            "dlq-consumer",
            &["compensate", "--coupon", "WAITS", "--up-to", &letter, "--reason", "x", "--by", "olga", "--yes"],
        )
        .await?
        .succeeded()?;
    rebuild("30").await?.succeeded()?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (1, 1, 9));
    Ok(())
}

/// Runs `dlq-consumer rebuild` for a campaign.
pub(crate) async fn rebuild(world: &World, code: &str) -> Result<Output> {
    world.run("dlq-consumer", &["rebuild", code, "--yes", "--by", "olga"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_publishes_again_what_only_its_mark_still_knows() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("MARKS", 10).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "MARKS", "somebody").await?;
    issued_rows(&world, "MARKS", 1, SOON).await?;
    // A restored PostgreSQL has forgotten the row, and both groups have passed its event.
    sqlx::raw_sql("DELETE FROM coupon_issues; UPDATE coupons SET issued_quantity = 0").execute(&world.db).await?;
    let rebuilt = rebuild(&world, "MARKS").await?;
    ensure!(rebuilt.code == Some(0) && rebuilt.stderr.contains("1 requests that only redis still knew"), "{rebuilt:?}");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (1, 0, 9));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_was_cut_off_at_its_end_is_no_obstacle_when_data_is_lost_again() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AGAIN", 10).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "AGAIN", "somebody").await?;
    issued_rows(&world, "AGAIN", 1, SOON).await?;
    rebuild(&world, "AGAIN").await?.succeeded()?;
    // As if it had been killed after it opened the gate, before it said so.
    sqlx::raw_sql("UPDATE rebuilds SET step = 'FILLING', finished_at = NULL").execute(&world.db).await?;
    world.stock.flush().await?;
    let late = world.member(&services.api, "late")?;
    ensure!(late.ask("AGAIN").await.status == Some(503));
    rebuild(&world, "AGAIN").await?.succeeded()?;
    accepted(&world, &services.api, "AGAIN", "late").await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (2, 8));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_is_closed_while_it_is_suspect_is_not_opened_by_its_rebuild() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SHUT", 10).await?;
    let services = Services::start(&world).await?;
    world.stock.flush().await?;
    let member = world.member(&services.api, "late")?;
    eventually("the campaign is suspect", SOON, async || -> Result<bool> {
        member.ask("SHUT").await;
        Ok(status(&world, "SHUT").await? == "SUSPECT")
    })
    .await?;
    world.coupon(&["close", "SHUT"]).await?.succeeded()?;
    let opened = world.coupon(&["open", "SHUT"]).await?;
    ensure!(opened.code == Some(1) && opened.stderr.contains("rebuild SHUT --by NAME"), "{opened:?}");
    rebuild(&world, "SHUT").await?.succeeded()?;
    assert_eq!(status(&world, "SHUT").await?, "CLOSED");
    ensure!(member.ask("SHUT").await.is_refused_as(409, "CLOSED"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_campaign_keeps_its_rows_and_changes_no_more() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ENDED", 5).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "ENDED", "somebody").await?;
    issued_rows(&world, "ENDED", 1, SOON).await?;
    let archive = async || {
        world.run("dlq-consumer", &["campaign", "archive", "ENDED", "--reason", "over", "--by", "olga", "--yes"]).await
    };
    let open = archive().await?;
    ensure!(open.code == Some(1) && open.stderr.contains("close it first"), "{open:?}");
    world.coupon(&["close", "ENDED"]).await?.succeeded()?;
    archive().await?.succeeded()?;
    assert_eq!(world.stock.keys().await?, 0);
    ensure!(world.member(&services.api, "late")?.ask("ENDED").await.is_refused_as(409, "CLOSED"));
    let again = world.coupon(&["open", "ENDED"]).await?;
    ensure!(again.code == Some(1) && again.stderr.contains("ended for good"), "{again:?}");
    archive().await?.succeeded()?;
    let issued: i64 = sqlx::query_scalar("SELECT issued_quantity FROM coupons").fetch_one(&world.db).await?;
    assert_eq!(issued, 1);
    Ok(())
}
