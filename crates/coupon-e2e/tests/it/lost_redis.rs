//! C4 and C5: Redis loses data while members ask.

use std::{collections::BTreeSet, fs::File};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::record::{Event, NewRecord, Record},
    proxy::Proxy,
    servers::{
        private::{PrivateServers, Server},
        replica::Replica,
    },
    wait::eventually,
    world::{Setup, World},
};

use crate::{
    SOON,
    crowd::Crowd,
    issued_rows,
    rebuild::{rebuild, status},
    replay::{replay, statuses},
    write::accepted,
};

/// Coupons of a campaign that loses its data at about a third.
const TOTAL: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c4_redis_flushed_while_members_ask_nothing_is_sold_until_it_is_rebuilt() -> Result<()> {
    let world = World::new().await?;
    let way = Proxy::before(&world.redis_url).await?;
    survives(world, &way, async |world, crowd| {
        crowd.sold_more(100).await?;
        world.stock.flush().await?;
        Ok(world)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_an_append_only_file_that_was_cut_is_noticed_before_anything_is_sold_twice() -> Result<()> {
    let private = PrivateServers::start(&[Server::Redis]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    let way = Proxy::before(&world.redis_url).await?;
    survives(world, &way, async |world, crowd| {
        crowd.sold_more(60).await?;
        let file = private.append_only_file()?;
        let kept = file.metadata()?.len();
        crowd.sold_more(40).await?;
        private.kill(Server::Redis)?;
        let file = File::options().write(true).open(&file)?;
        ensure!(file.metadata()?.len() > kept, "there is something to cut off");
        file.set_len(kept)?;
        private.start_again(Server::Redis).await?;
        world.reconnected().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_a_replica_that_lagged_and_was_promoted_is_noticed_before_anything_is_sold_twice() -> Result<()> {
    let private = PrivateServers::start(&[Server::Redis]).await?;
    let mut world = World::with(Setup::on(private.servers())).await?;
    let way = Proxy::before(&world.redis_url).await?;
    let replication = Proxy::before(&world.redis_url).await?;
    let replica = Replica::following(&replication).await?;
    world.redis_url = way.url().to_owned();
    survives(world, &way, async |world, crowd| {
        crowd.sold_more(60).await?;
        replication.stall().await?;
        crowd.sold_more(40).await?;
        private.kill(Server::Redis)?;
        replica.promote().await?;
        way.lead_to(&replica.url_like(way.url()).await?).await?;
        world.reconnected().await
    })
    .await?;
    drop(replica);
    Ok(())
}

/// Lets a crowd ask two processes, lets `strike` lose data meanwhile, rebuilds, and checks that every promise holds.
async fn survives(world: World, way: &Proxy, strike: impl AsyncFnOnce(World, &Crowd) -> Result<World>) -> Result<()> {
    world.open_campaign("LOSSY", TOTAL).await?;
    let (api, other, _issue, _dlq) = tokio::try_join!(
        world.start_api().redis_through(way).into_future(),
        world.start_api().redis_through(way).into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().redis_through(way).into_future()
    )?;
    let crowd = Crowd::ask(&world, &[&api, &other], "LOSSY")?;
    let world = strike(world, &crowd).await?;

    let suspect = async || -> Result<bool> { Ok(status(&world, "LOSSY").await? == "SUSPECT") };
    eventually("the campaign is suspect", SOON, suspect).await?;
    crowd.hears("members are told to come back", SOON, |answer| answer.status == Some(503)).await?;
    rebuild(&world, "LOSSY").await?.succeeded()?;
    crowd.hears("all are sold", SOON * 2, |answer| answer.is_refused_as(409, "SOLD_OUT")).await?;
    crowd.go_home().await?;

    // Sequences are given out one by one, so more requests than the highest of them would be units sold twice.
    let records = world.topic.read().await?;
    let events = records.iter().filter_map(Record::event);
    let before: Vec<Event> = events.filter(|event| event.epoch == 1).collect();
    let requests: BTreeSet<_> = before.iter().map(|event| event.request_id).collect();
    let highest = before.iter().map(|event| event.seq).max().context("events before the loss")?;
    ensure!(i64::try_from(requests.len())? <= highest, "{} requests up to sequence {highest}", requests.len());

    issued_rows(&world, "LOSSY", i64::try_from(TOTAL)?, SOON).await?;
    let verdict = world.quiet(SOON * 2, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (usize::try_from(TOTAL)?, 0));
    Ok(())
}

async fn letter_is_held(world: &World) -> Result<()> {
    eventually("its dead letter is held", SOON, async || -> Result<bool> {
        let held: i64 =
            sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE status = 'HELD'").fetch_one(&world.db).await?;
        Ok(held == 1)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_a_rebuild_has_left_in_a_dead_letter_is_accepted_until_it_is_decided() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LEFT", 2).await?;
    let rule = world.fail_member("LEFT", "held", FailMode::Permanently).await?;
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("give_up.burst", 0).set("give_up.per_second", 0).into_future()
    )?;
    let id = accepted(&world, &api, "LEFT", "held").await?.request_id.context("a request id")?;
    letter_is_held(&world).await?;
    world.stock.flush().await?;
    let rebuilt = world.run("dlq-consumer", &["rebuild", "LEFT", "--leave-undecided", "--yes", "--by", "olga"]).await?;
    ensure!(rebuilt.code == Some(0), "{rebuilt:?}");
    let (member, stranger) = (world.member(&api, "held")?, world.member(&api, "stranger")?);
    let stands = async |state: &str| -> Result<()> {
        let status = member.status("LEFT", id).await;
        ensure!(status.body["state"] == state, "{status:?}");
        let (_, _, list) = member.get("/api/v1/issues/mine").await?;
        ensure!(list["complete"] == true && list["issues"].as_array().is_some_and(|all| all.len() == 1), "{list}");
        ensure!(list["issues"][0]["request_id"] == id.to_string().as_str(), "{list}");
        ensure!(list["issues"][0]["state"] == state, "{list}");
        let (code, held) = member.mine("LEFT").await?;
        let is_held = code == 200 && held["request_id"] == id.to_string().as_str() && held["state"] == state;
        ensure!(is_held == (state == "accepted") && (is_held || held["code"] == "NOTHING_HELD"), "{held}");
        Ok(())
    };
    stands("accepted").await?;
    let other = stranger.status("LEFT", id).await;
    ensure!(other.is_refused_as(404, "REQUEST_NOT_FOUND"), "it is nobody else's: {other:?}");
    let (_, _, none) = stranger.get("/api/v1/issues/mine").await?;
    ensure!(none["issues"] == serde_json::json!([]), "{none}");
    rule.lift().await?;
    replay(&world, &["--dead-letters", "--coupon", "LEFT"]).await?;
    eventually("it is compensated", SOON, async || Ok::<_, anyhow::Error>(stands("compensated").await.is_ok())).await?;
    // A record may lie in the topic twice, and one dead letter be held while the other is decided.
    sqlx::query("UPDATE dlq_events SET status = 'HELD'").execute(&world.db).await?;
    stands("compensated").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c5_what_was_accepted_before_the_loss_and_comes_after_the_rebuild_takes_nobody_s_unit() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("STRAGGLER", 2).await?;
    let rule = world.fail_member("STRAGGLER", "held", FailMode::Permanently).await?;
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("give_up.burst", 0).set("give_up.per_second", 0).into_future()
    )?;
    accepted(&world, &api, "STRAGGLER", "held").await?;
    letter_is_held(&world).await?;
    world.stock.flush().await?;
    let rebuilt =
        world.run("dlq-consumer", &["rebuild", "STRAGGLER", "--leave-undecided", "--yes", "--by", "olga"]).await?;
    ensure!(rebuilt.code == Some(0), "{rebuilt:?}");
    for member in ["one", "two"] {
        accepted(&world, &api, "STRAGGLER", member).await?;
    }
    issued_rows(&world, "STRAGGLER", 2, SOON).await?;

    rule.lift().await?;
    // A producer had it in its memory all the while; the other one an operator had.
    world.topic.write(&NewRecord::event(&Event::of("STRAGGLER", "late", 2))).await?;
    let replayed = replay(&world, &["--dead-letters", "--coupon", "STRAGGLER"]).await?;
    ensure!(replayed.code == Some(1) && replayed.stdout.contains("OLD_EPOCH"), "{replayed:?}");
    eventually("both are compensated", SOON, async || -> Result<bool> { Ok(statuses(&world).await?.len() == 2) })
        .await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (2, 2, 0));
    Ok(())
}
