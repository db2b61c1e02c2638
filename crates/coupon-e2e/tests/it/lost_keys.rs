//! One key of a campaign deleted while members ask.

use anyhow::{Result, ensure};
use coupon_e2e::{stock::key, wait::eventually, world::World};

use crate::{
    SOON, Services, issued_rows,
    rebuild::{rebuild, status},
    write::accepted,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_the_list_of_its_campaigns_gets_it_back_and_every_outbox_is_emptied() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    world.open_campaign("LISTED", 3).await?;
    accepted(&world, &services.api, "LISTED", "one").await?;
    issued_rows(&world, "LISTED", 1, SOON).await?;
    let _: i64 = redis::cmd("DEL").arg("coupons").query_async(&mut world.stock.redis()).await?;
    // What a process reserved and did not live to publish.
    let id = uuid::Uuid::now_v7();
    world.stock.set_holder("LISTED", "two", Some(id)).await?;
    world.stock.set_outbox("LISTED", &format!("{id}|1|two")).await?;
    issued_rows(&world, "LISTED", 2, SOON).await?;
    ensure!(world.stock.codes().await? == ["LISTED"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_one_key_of_a_campaign_closes_its_gate_and_sells_nothing_twice() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    for part in ["meta", "issued"] {
        let code = format!("LOST-{}", part.to_uppercase());
        world.open_campaign(&code, 3).await?;
        for member in ["one", "two"] {
            accepted(&world, &services.api, &code, member).await?;
        }
        issued_rows(&world, &code, 2, SOON).await?;
        let _: i64 = redis::cmd("DEL").arg(key(&code, part)).query_async(&mut world.stock.redis()).await?;
        for number in 0..5 {
            let refused = world.member(&services.api, &format!("late-{number}"))?.ask(&code).await;
            ensure!(refused.is_refused_as(503, "GATE_CLOSED"), "without {part}: {refused:?}");
        }
        services
            .api
            .wait_for_log("somebody is told", SOON, |line| {
                line.message().starts_with("[CRITICAL]") && line.text.contains(&code)
            })
            .await?;
        eventually("PostgreSQL knows", SOON, async || -> Result<bool> {
            Ok(status(&world, &code).await? == "SUSPECT")
        })
        .await?;
        rebuild(&world, &code).await?.succeeded()?;
        accepted(&world, &services.api, &code, "three").await?;
        let refused = world.member(&services.api, "four")?.ask(&code).await;
        ensure!(refused.is_refused_as(409, "SOLD_OUT"), "{refused:?}");
        issued_rows(&world, &code, 3, SOON).await?;
    }
    world.quiet(SOON, &[]).await?;
    Ok(())
}
