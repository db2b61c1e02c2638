//! Each binary is scaled apart: what more and fewer processes of one do under load, while the others work on.
//!
//! The servers are made far away by a proxy, so that one process is limited by waiting and not by this machine's
//! processors, which all processes share.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    kafka::record::{Event, NewRecord},
    oracle::Kind,
    process::Process,
    proxy::Proxy,
    servers::Servers,
    wait::{eventually, pause},
    world::{Setup, World},
};

use crate::{SOON, crowd::Crowd, issued, issued_rows, write::accepted};

/// Partitions: as many processes can share the work.
const PARTITIONS: i32 = 8;
/// Events that wait to be written.
const BACKLOG: usize = 12_000;
/// Delay in each direction to a far server.
const FAR: Duration = Duration::from_millis(20);
/// Time over which a rate is counted.
const WINDOW: Duration = Duration::from_secs(3);
/// Longest time until a group has shared its partitions anew and the rate has followed.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(40);

/// Returns the rows written within a time window.
async fn rate(world: &World, code: &str) -> Result<i64> {
    let before = issued(world, code).await?;
    pause(WINDOW).await;
    Ok(issued(world, code).await? - before)
}

async fn backlog(world: &World) -> Result<()> {
    world.open_campaign("DRAIN", u64::try_from(BACKLOG)?).await?;
    let numbers = 1..=i64::try_from(BACKLOG)?;
    let events: Vec<Event> = numbers.map(|seq| Event::of("DRAIN", &format!("member-{seq}"), seq)).collect();
    let holders: Vec<_> = events.iter().map(|event| (event.member_id.clone(), event.request_id)).collect();
    world.stock.set_holders("DRAIN", &holders).await?;
    world.stock.set_meta("DRAIN", &[("seq", &BACKLOG.to_string())]).await?;
    let records: Vec<NewRecord> = events.iter().map(NewRecord::event).collect();
    world.topic.write_many(&records).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_then_four_then_two_issue_consumers_write_as_fast_as_they_are_many_and_lose_nothing() -> Result<()> {
    let world = World::with(Setup { partitions: PARTITIONS, ..Setup::on(&Servers::from_env()?) }).await?;
    world.open_campaign("BESIDE", 4).await?;
    backlog(&world).await?;
    let far = Proxy::before(&world.database_url).await?;
    far.delay(FAR).await?;
    let consumer = || {
        let launch = world.start_issue_consumer().database_through(&far);
        launch
            .set("writer.max_batch", 5)
            .set("writer.max_parallel", 1)
            .set("consumer.window_per_partition", 50)
            .into_future()
    };
    let (api, _dlq, first) =
        tokio::try_join!(world.start_api().into_future(), world.start_dlq_consumer().into_future(), consumer())?;

    issued_rows_begin(&world).await?;
    let one = rate(&world, "DRAIN").await?;
    accepted(&world, &api, "BESIDE", "while-one").await?;

    let (second, third, fourth) = tokio::try_join!(consumer(), consumer(), consumer())?;
    let mut four = 0;
    eventually("four write more than three times as fast as one", FOLLOWS_WITHIN, async || -> Result<bool> {
        four = rate(&world, "DRAIN").await?;
        ensure!(four > 3 * one, "one wrote {one}, four write {four}");
        Ok(true)
    })
    .await?;
    accepted(&world, &api, "BESIDE", "while-four").await?;
    // A dead letter that somebody hands over now.
    let letter = Event::of("BESIDE", "dead-letter", 1);
    world.stock.set_holder("BESIDE", "dead-letter", Some(letter.request_id)).await?;
    world.dlq.write(&NewRecord::event(&letter)).await?;
    issued_letter(&world, &letter).await?;

    for process in [third, fourth] {
        ensure!(process.terminate(SOON).await?.success());
    }
    let mut seen = Vec::new();
    eventually("two write slower than four, and faster than one", FOLLOWS_WITHIN, async || -> Result<bool> {
        let two = rate(&world, "DRAIN").await?;
        seen.push(two);
        ensure!(4 * two < 3 * four && 4 * two > 5 * one, "one wrote {one}, two write {seen:?}, four wrote {four}");
        Ok(true)
    })
    .await?;
    accepted(&world, &api, "BESIDE", "while-two").await?;

    far.restore().await?;
    issued_rows(&world, "DRAIN", i64::try_from(BACKLOG)?, FOLLOWS_WITHIN).await?;
    issued_rows(&world, "BESIDE", 4, SOON).await?;
    let verdict = world.quiet(SOON, &[Kind::DeadLetterUnlabelled, Kind::IssuedFromNothing]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (BACKLOG + 4, 0));
    drop((first, second));
    Ok(())
}

async fn issued_letter(world: &World, letter: &Event) -> Result<()> {
    eventually("dlq-consumer works while the others are scaled", SOON, async || -> Result<bool> {
        let issued = sqlx::query_scalar("SELECT EXISTS (SELECT FROM coupon_issues WHERE request_id = $1)");
        Ok(issued.bind(letter.request_id).fetch_one(&world.db).await?)
    })
    .await
}

async fn issued_rows_begin(world: &World) -> Result<()> {
    eventually("the drain begins", SOON, async || -> Result<bool> { Ok(issued(world, "DRAIN").await? > 20) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_then_three_then_two_apis_behind_one_load_accept_as_fast_as_they_are_many() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LOAD", 2_000).await?;
    let far = Proxy::before(&world.redis_url).await?;
    far.delay(2 * FAR).await?;
    // One request at a time each: what one process can take is known.
    let api = || world.start_api().redis_through(&far).set("http.max_in_flight", 1).into_future();
    let (first, _issue, _dlq) =
        tokio::try_join!(api(), world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    let one = accepted_in_a_window(&world, &[&first], "one").await?;
    let (second, third) = tokio::try_join!(api(), api())?;
    let (mut three, mut sold) = (0, one);
    // A window in which the machine is busy with other tests says nothing of the services.
    eventually("three accept more than twice as many as one", FOLLOWS_WITHIN, async || -> Result<bool> {
        three = accepted_in_a_window(&world, &[&first, &second, &third], &format!("three-{sold}")).await?;
        sold += three;
        ensure!(three > 2 * one, "one accepted {one}, three accept {three}");
        Ok(true)
    })
    .await?;
    ensure!(third.terminate(SOON).await?.success());
    let mut seen = Vec::new();
    eventually("two accept fewer than three, and more than one", FOLLOWS_WITHIN, async || -> Result<bool> {
        let two = accepted_in_a_window(&world, &[&first, &second], &format!("two-{sold}")).await?;
        sold += two;
        seen.push(two);
        let is_between = 20 * two < 19 * three && 4 * two > 5 * one;
        ensure!(is_between, "one accepted {one}, two accept {seen:?}, three accepted {three}");
        Ok(true)
    })
    .await?;
    let all = i64::try_from(sold)?;
    eventually("all of them are written", SOON, async || -> Result<bool> { Ok(issued(&world, "LOAD").await? >= all) })
        .await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

/// How many members of a crowd are accepted while the window lasts.
async fn accepted_in_a_window(world: &World, apis: &[&Process], who: &str) -> Result<usize> {
    let crowd = Crowd::of(who, world, apis, "LOAD")?;
    crowd.sold_more(5).await?;
    let before = crowd.sold();
    pause(WINDOW).await;
    let sold = crowd.sold() - before;
    crowd.go_home().await?;
    Ok(sold)
}
