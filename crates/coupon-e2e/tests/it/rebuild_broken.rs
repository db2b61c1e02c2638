//! What a rebuild goes back to from data that is broken, and what no event may do to it.

use anyhow::{Result, ensure};
use coupon_e2e::{
    kafka::record::{Event, NewRecord},
    wait::{eventually, stays},
    world::World,
};

use crate::{
    SOON, Services, issued_rows,
    rebuild::{rebuild, status},
    write::accepted,
};

/// The largest sequence that an event may claim.
const MOST: i64 = (1 << 53) - 1;

async fn parked(world: &World) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE status = 'PARKED'").fetch_one(&world.db).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_was_closed_before_a_straggler_hit_its_cap_is_closed_after_the_rebuild() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("OVER", 1).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "OVER", "somebody").await?;
    issued_rows(&world, "OVER", 1, SOON).await?;
    world.coupon(&["close", "OVER"]).await?.succeeded()?;
    world.topic.write(&NewRecord::event(&Event::of("OVER", "straggler", 2))).await?;
    eventually("it is compensated, and somebody is told", SOON, async || -> Result<bool> {
        let told: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM alarm_notices WHERE command = 'dlq-consumer rebuild OVER --by NAME'
             AND EXISTS (SELECT FROM failed_coupon_issues WHERE error_code = 'CAP_REACHED')",
        )
        .fetch_one(&world.db)
        .await?;
        Ok(told > 0)
    })
    .await?;
    assert_eq!(status(&world, "OVER").await?, "CLOSED", "it sells nothing, and goes back to this");
    rebuild(&world, "OVER").await?.succeeded()?;
    assert_eq!(status(&world, "OVER").await?, "CLOSED");
    ensure!(world.member(&services.api, "late")?.ask("OVER").await.is_refused_as(409, "CLOSED"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequence_that_redis_never_gave_poisons_nothing_that_follows_it() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("POISON", 100).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "POISON", "first").await?;
    world.topic.write(&NewRecord::event(&Event::of("POISON", "foreign", MOST))).await?;
    issued_rows(&world, "POISON", 2, SOON).await?;
    // A process that has seen nothing itself believes what the row can vouch for, and no more.
    let young = world.start_api().await?;
    let member = world.member(&young, "second")?;
    ensure!(member.ask("POISON").await.is_held());
    stays("it goes on selling", std::time::Duration::from_secs(4), async || -> Result<bool> {
        Ok(member.ask("POISON").await.is_held() && status(&world, "POISON").await? == "OPEN")
    })
    .await?;
    rebuild(&world, "POISON").await?.succeeded()?;
    for number in 0..10 {
        accepted(&world, &young, "POISON", &format!("late-{number}")).await?;
    }
    issued_rows(&world, "POISON", 13, SOON).await?;
    assert_eq!(parked(&world).await?, 0, "no event of a later member is malformed");
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_went_back_in_time_is_noticed_also_when_an_event_has_claimed_too_much() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("HIDDEN", 100).await?;
    {
        let services = Services::start(&world).await?;
        for number in 0..5 {
            accepted(&world, &services.api, "HIDDEN", &format!("early-{number}")).await?;
        }
        issued_rows(&world, "HIDDEN", 5, SOON).await?;
        world.topic.write(&NewRecord::event(&Event::of("HIDDEN", "foreign", MOST))).await?;
        issued_rows(&world, "HIDDEN", 6, SOON).await?;
    }
    // Four reservations are lost, and with them every process that has seen them.
    world.stock.set_meta("HIDDEN", &[("seq", "2")]).await?;
    let services = Services::start(&world).await?;
    let member = world.member(&services.api, "late")?;
    eventually("it is noticed", SOON, async || member.ask("HIDDEN").await.is_refused_as(503, "GATE_CLOSED")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_open_gate_of_an_older_epoch_is_closed_when_the_row_is_suspect() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("OLDER", 10).await?;
    sqlx::query("UPDATE coupons SET status = 'SUSPECT', epoch = 3").execute(&world.db).await?;
    let gate = async || -> Result<bool> { Ok(world.stock.of("OLDER").await?.meta["status"] == "SUSPECT") };
    {
        let _dlq = world.start_dlq_consumer().await?;
        eventually("the gate is closed", SOON, gate).await?;
    }
    // And by a process that has just started, from what the row says.
    world.stock.set_meta("OLDER", &[("status", "OPEN")]).await?;
    let api = world.start_api().await?;
    let member = world.member(&api, "late")?;
    eventually("it is refused", SOON, async || member.ask("OLDER").await.is_refused_as(503, "GATE_CLOSED")).await?;
    ensure!(gate().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_counts_the_rows_before_it_publishes_anything_again() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ROWS", 15).await?;
    let services = Services::start(&world).await?;
    for number in 0..15 {
        accepted(&world, &services.api, "ROWS", &format!("early-{number}")).await?;
    }
    issued_rows(&world, "ROWS", 15, SOON).await?;
    // By hand, and without the counter.
    sqlx::query("DELETE FROM coupon_issues WHERE member_id IN ('early-3', 'early-4', 'early-5')")
        .execute(&world.db)
        .await?;
    rebuild(&world, "ROWS").await?.succeeded()?;
    assert_eq!(status(&world, "ROWS").await?, "OPEN");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (15, 0, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_settles_holders_also_of_data_of_which_a_part_is_lost_or_of_an_older_epoch() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    for code in ["NOMETA", "BEFORE"] {
        world.open_campaign(code, 10).await?;
        for number in 0..3 {
            accepted(&world, &services.api, code, &format!("{code}-{number}")).await?;
        }
        issued_rows(&world, code, 3, SOON).await?;
    }
    // Only Redis still knows of these requests, and what it says of itself is broken.
    sqlx::query("DELETE FROM coupon_issues WHERE member_id LIKE '%-1'").execute(&world.db).await?;
    let meta = coupon_e2e::stock::key("NOMETA", "meta");
    redis::cmd("DEL").arg(meta).exec_async(&mut world.stock.redis()).await?;
    sqlx::query("UPDATE coupons SET epoch = 4 WHERE coupon_code = 'BEFORE'").execute(&world.db).await?;
    for code in ["NOMETA", "BEFORE"] {
        rebuild(&world, code).await?.succeeded()?;
        assert_eq!((status(&world, code).await?.as_str(), crate::issued(&world, code).await?), ("OPEN", 3));
    }
    world.quiet(SOON, &[]).await?;
    Ok(())
}
