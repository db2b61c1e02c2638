//! The outbox while Redis is full, or has entries that cannot be read.

use anyhow::{Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    servers::private::{PrivateServers, Server},
    stock::key,
    wait::eventually,
    world::{Setup, World},
};
use futures_util::future::join_all;
use redis::AsyncCommands;

use crate::{SOON, accept::published, issued_rows, reconcile::reconcile, sick_replica::reserved, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_keeps_no_reservation_from_being_published() -> Result<()> {
    let private = PrivateServers::start(&[Server::Redis]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("FULL", 100).await?;
    let dies = world.start_api().set("kafka.properties.linger.ms", 60_000).await?;
    let ids = reserved(&world, &dies, "FULL", 3).await?;
    dies.kill();
    let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).query_async(&mut world.stock.redis()).await?;
    let _lives = world.start_api().await?;
    published(&world, &ids, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_repairs_or_ends_a_campaign_goes_on_while_redis_is_full() -> Result<()> {
    let private = PrivateServers::start(&[Server::Redis]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("FULL", 100).await?;
    let _rule = world.fail_member("FULL", "unlucky", FailMode::Permanently).await?;
    let api = world.start_api().await?;
    for member in ["unlucky", "lucky"] {
        accepted(&world, &api, "FULL", member).await?;
    }
    let _: () = redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).query_async(&mut world.stock.redis()).await?;
    let late = world.member(&api, "late")?.ask("FULL").await;
    ensure!(late.is_refused_as(503, "STOCK_UNAVAILABLE"), "{late:?}");

    let (_issue, _dlq) =
        tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    eventually("the unit is back", SOON, async || {
        Ok::<_, anyhow::Error>(world.stock.of("FULL").await?.issued.len() == 1)
    })
    .await?;
    issued_rows(&world, "FULL", 1, SOON).await?;
    sqlx::query("DELETE FROM coupon_issues WHERE decision = 'ISSUED'").execute(&world.db).await?;
    sqlx::query("UPDATE coupons SET issued_quantity = 0").execute(&world.db).await?;
    reconcile(&world, &["FULL", "--apply"]).await?;
    issued_rows(&world, "FULL", 1, SOON).await?;
    for words in [&["set-total", "FULL", "50"][..], &["set-window", "FULL", "--no-closes-at"], &["close", "FULL"]] {
        world.coupon(words).await?.succeeded()?;
    }
    let settle = ["resolve", "--coupon", "FULL", "--up-to", "E99", "--reason", "paid", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &settle).await?.succeeded()?;
    let archive = ["campaign", "archive", "FULL", "--reason", "over", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &archive).await?.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_that_cannot_be_listed_is_no_empty_outbox() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BLIND", 100).await?;
    let api = world.start_api().set("kafka.properties.linger.ms", 60_000).await?;
    reserved(&world, &api, "BLIND", 3).await?;
    let waiting = async || -> Result<bool> { Ok(api.metric("coupon_outbox_entries", "").await? == Some(3.0)) };
    eventually("three wait", SOON, waiting).await?;
    let outbox = key("BLIND", "outbox");
    let _: () = world.stock.redis().rename(&outbox, "elsewhere").await?;
    let _: () = world.stock.redis().set(&outbox, "no outbox").await?;
    eventually("it is counted", SOON, async || -> Result<bool> {
        Ok(api.metric("coupon_relay_failures_total", "").await? >= Some(4.0))
    })
    .await?;
    ensure!(waiting().await?, "the gauge stays: {}", api.metrics().await?);
    let said = api.log().iter().filter(|line| line.text.contains("cannot be listed")).count();
    assert_eq!(said, 1, "once a minute");
    let _: () = world.stock.redis().rename("elsewhere", &outbox).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_entry_dated_in_the_future_is_due_now() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AHEAD", 100).await?;
    let dies = world.start_api().set("kafka.properties.linger.ms", 60_000).await?;
    let ids = reserved(&world, &dies, "AHEAD", 1).await?;
    dies.kill();
    let outbox = key("AHEAD", "outbox");
    let _: f64 = redis::cmd("ZINCRBY")
        .arg(&outbox)
        .arg(3_600_000)
        .arg(&world.stock.of("AHEAD").await?.outbox[0])
        .query_async(&mut world.stock.redis())
        .await?;
    let _lives = world.start_api().await?;
    published(&world, &ids, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_every_request_is_logged_once_a_minute() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("WRONG", 100).await?;
    let api = world.start_api().await?;
    let _: () = world.stock.redis().set(key("WRONG", "issued"), "no map").await?;
    let members = (0..50).map(|number| world.member(&api, &format!("member-{number}"))).collect::<Result<Vec<_>>>()?;
    let answers = join_all(members.iter().map(|member| member.ask("WRONG"))).await;
    ensure!(answers.iter().all(|answer| answer.status == Some(503)), "{answers:?}");
    let errors = || api.log().iter().filter(|line| line.level() == "ERROR").count();
    eventually("it is logged", SOON, async || errors() > 0).await?;
    assert_eq!(errors(), 1, "{:?}", api.log());
    Ok(())
}
