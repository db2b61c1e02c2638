//! The sold-out cache: it answers refusals without Redis, and refuses no member who could get a coupon.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    answers::Answer,
    process::Process,
    proxy::Proxy,
    stock::key,
    wait::{eventually, pause},
    world::World,
};
use uuid::Uuid;

use crate::SOON;

/// Time after which the sold-out cache has expired, with reserve for a busy machine.
const BELIEVED: Duration = Duration::from_secs(1);

const CODE: &str = "GONE";

/// Sells everything to members who are called `held-…`, and gives their request ids.
async fn sell_out(world: &World, api: &Process, total: u64) -> Result<Vec<(String, Uuid)>> {
    world.open_campaign(CODE, total).await?;
    let mut held = Vec::new();
    for number in 0..total {
        let id = format!("held-{number}");
        let answer = world.member(api, &id)?.ask(CODE).await;
        held.push((id, answer.request_id.with_context(|| format!("{answer:?}"))?));
    }
    Ok(held)
}

/// Asks until the process has refused a member by its sold-out cache; many ask, because few refusals are not cached.
async fn refused_from_cache(world: &World, api: &Process) -> Result<()> {
    let refused = refused_alone(api).await?;
    eventually("a member is refused by the cache", SOON, async || -> Result<bool> {
        for _ in 0..30 {
            let answer = world.member(api, "too-late")?.ask(CODE).await;
            ensure!(answer.is_refused_as(409, "SOLD_OUT"), "{answer:?}");
        }
        Ok(refused_alone(api).await? > refused)
    })
    .await
}

async fn refused_alone(api: &Process) -> Result<f64> {
    Ok(api.metric("coupon_refused_from_memory_total", "").await?.unwrap_or(0.0))
}

fn holds(answer: &Answer, id: Uuid) -> Result<()> {
    ensure!(answer.status == Some(200) && answer.request_id == Some(id), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_comes_too_late_is_refused_from_memory_and_no_holder_ever_is() -> Result<()> {
    let world = World::new().await?;
    let api = world.start_api().await?;
    let held = sell_out(&world, &api, 40).await?;
    refused_from_cache(&world, &api).await?;
    let (before, asked) = (refused_alone(&api).await?, 200);
    for number in 0..asked {
        let answer = world.member(&api, &format!("late-{number}"))?.ask(CODE).await;
        ensure!(answer.is_refused_as(409, "SOLD_OUT"), "{answer:?}");
        // In between, so that the memory is in use while a holder asks.
        let (id, request_id) = &held[number % held.len()];
        holds(&world.member(&api, id)?.ask(CODE).await, *request_id)?;
    }
    let enough = f64::from(u32::try_from(asked)?) * 0.9;
    eventually("nine of ten were refused without Redis", SOON, async || -> Result<bool> {
        Ok(refused_alone(&api).await? - before > enough)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_a_unit_that_comes_back_is_given_out_within_a_second_while_a_crowd_is_refused_from_memory() -> Result<()> {
    let world = World::new().await?;
    let (api, other) = tokio::try_join!(world.start_api().into_future(), world.start_api().into_future())?;
    let held = sell_out(&world, &api, 5).await?;
    refused_from_cache(&world, &api).await?;
    refused_from_cache(&world, &other).await?;
    // As the give-back worker does.
    world.stock.set_holder(CODE, &held[0].0, None).await?;
    let lucky = world.member(&api, "lucky")?;
    let taken = eventually("the next member gets the unit", BELIEVED, async || {
        let answer = lucky.ask(CODE).await;
        answer.request_id.filter(|_| answer.is_held())
    });
    let request_id = taken.await?;
    // The process that gave it out knows at once; the other one no later than a moment after.
    holds(&lucky.ask(CODE).await, request_id)?;
    let at_other = world.member(&other, "lucky")?;
    eventually("the other process knows the new holder", BELIEVED, async || -> Result<bool> {
        let answer = at_other.ask(CODE).await;
        holds(&answer, request_id)?;
        Ok(true)
    })
    .await?;
    // Both remember anew, with the new holder among the others.
    refused_from_cache(&world, &api).await?;
    refused_from_cache(&world, &other).await?;
    holds(&lucky.ask(CODE).await, request_id)?;
    holds(&at_other.ask(CODE).await, request_id)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_changes_hands_between_two_looks_is_noticed_by_the_sequence() -> Result<()> {
    let world = World::new().await?;
    let api = world.start_api().await?;
    let held = sell_out(&world, &api, 5).await?;
    refused_from_cache(&world, &api).await?;
    // As a unit that comes back and is sold again by another process, so quickly that the coupon is never seen with one
    // left.
    let (issued, meta) = (key(CODE, "issued"), key(CODE, "meta"));
    let request_id = Uuid::now_v7();
    let mut at_once = redis::pipe();
    at_once.atomic().hdel(&issued, &held[0].0).hset(&issued, "quick", request_id.to_string()).hincr(&meta, "seq", 1);
    let _: redis::Value = at_once.query_async(&mut world.stock.redis()).await?;
    let quick = world.member(&api, "quick")?;
    eventually("the process knows the new holder", BELIEVED, async || -> Result<bool> {
        holds(&quick.ask(CODE).await, request_id)?;
        Ok(true)
    })
    .await?;
    refused_from_cache(&world, &api).await?;
    holds(&quick.ask(CODE).await, request_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_that_redis_no_longer_confirms_refuses_nobody() -> Result<()> {
    let world = World::new().await?;
    let way = Proxy::before(&world.redis_url).await?;
    let api = world.start_api().redis_through(&way).await?;
    sell_out(&world, &api, 5).await?;
    refused_from_cache(&world, &api).await?;
    // Silent, so that no error tells the process: it has to look at the clock.
    way.stall().await?;
    pause(Duration::from_millis(300)).await;
    let answer = world.member(&api, "too-late")?.ask(CODE).await;
    ensure!(answer.is_refused_as(503, "STOCK_UNAVAILABLE"), "{answer:?}");
    way.restore().await?;
    eventually("the process asks redis again", SOON, async || -> Result<bool> {
        Ok(world.member(&api, "too-late")?.ask(CODE).await.is_refused_as(409, "SOLD_OUT"))
    })
    .await?;
    refused_from_cache(&world, &api).await
}
