//! The outbox while one replica or the log of a broker is sick.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    answers::{Answer, State},
    failures::FailMode,
    process::Process,
    servers::private::{PrivateServers, Server},
    stock::key,
    wait::{eventually, stays},
    world::{Setup, World},
};
use futures_util::future::join_all;
use redis::AsyncCommands;
use uuid::Uuid;

use crate::{
    SOON,
    accept::published,
    write::{accepted, dead_letters},
};

/// Within which what a sick replica has reserved is in the topic.
const TAKEN_OVER: Duration = Duration::from_secs(10);

/// So many members ask at once, and all of them hold a coupon then.
pub async fn reserved(world: &World, api: &Process, code: &str, members: usize) -> Result<Vec<Uuid>> {
    let members = (0..members).map(|number| world.member(api, &format!("at-{}-{number}", api.pid())));
    let members = members.collect::<Result<Vec<_>>>()?;
    let answers = join_all(members.iter().map(|member| member.ask(code))).await;
    ensure!(answers.iter().all(|answer| answer.state == Some(State::Reserved)), "{answers:?}");
    Ok(answers.iter().filter_map(|answer| answer.request_id).collect())
}

async fn leased(world: &World, code: &str) -> Result<()> {
    eventually("a relay has the lease", SOON, async || -> Result<bool> {
        Ok(world.stock.redis().exists(key(code, "relay")).await?)
    })
    .await
}

fn full(answer: &Answer) -> bool {
    answer.is_refused_as(503, "OUTBOX_FULL") && answer.retry_after.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_without_kafka_has_reserved_is_published_by_another_and_it_alone_refuses() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("SICK", 1000).await?;
    let sick = world.start_api().kafka_through(private.way_to_kafka()).await?;
    let before = accepted(&world, &sick, "SICK", "before").await?;
    private.way_to_kafka().cut().await?;
    let mut ids = reserved(&world, &sick, "SICK", 5).await?;
    leased(&world, "SICK").await?;

    let healthy = world.start_api().await?;
    published(&world, &ids, TAKEN_OVER).await?;
    let mut asked = 0;
    let late = world.member(&sick, "late")?;
    eventually("the sick one refuses what is new", TAKEN_OVER * 2, async || -> Result<bool> {
        asked += 1;
        let answer = world.member(&healthy, &format!("healthy-{asked}"))?.ask("SICK").await;
        ensure!(answer.is_held(), "somebody else is refused: {answer:?}");
        ids.extend(answer.request_id);
        let answer = late.ask("SICK").await;
        ids.extend(answer.request_id);
        Ok(full(&world.member(&sick, &format!("new-{asked}"))?.ask("SICK").await))
    })
    .await?;
    eventually("it says so itself", SOON, async || sick.admin_status("/readyz").await == Some(503)).await?;
    let again = world.member(&sick, "before")?.ask("SICK").await;
    ensure!((again.status, again.request_id) == (Some(200), before.request_id), "a holder is told: {again:?}");
    ensure!(healthy.admin_status("/readyz").await == Some(200));

    private.way_to_kafka().restore().await?;
    eventually("it accepts again", SOON * 2, async || {
        world.member(&sick, "after").ok()?.ask("SICK").await.is_held().then_some(())
    })
    .await?;
    eventually("it is ready again", SOON, async || sick.admin_status("/readyz").await == Some(200)).await?;
    published(&world, &ids, SOON * 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_lose_kafka_one_after_the_other_go_on_promising_and_so_does_the_last_to_get_it_back() -> Result<()>
{
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("AWAY", 1000).await?;
    let first = world.start_api().kafka_through(private.way_to_kafka()).await?;
    let second = world.start_api().await?;
    for api in [&first, &second] {
        accepted(&world, api, "AWAY", &format!("before-{}", api.pid())).await?;
    }
    private.way_to_kafka().cut().await?;
    let mut ids = reserved(&world, &first, "AWAY", 1).await?;
    published(&world, &ids, TAKEN_OVER).await?;
    private.kill(Server::Kafka)?;

    let mut asked = 0;
    let mut both_promise = async |what: &str, time: Duration| {
        stays(what, time, async || -> Result<bool> {
            asked += 1;
            for api in [&first, &second] {
                let answer = world.member(api, &format!("during-{asked}-{}", api.pid()))?.ask("AWAY").await;
                ids.extend(answer.request_id);
                if !answer.is_held() || api.admin_status("/readyz").await != Some(200) {
                    eprintln!("{} of {} and {}: {answer:?}", api.pid(), first.pid(), second.pid());
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    };
    both_promise("kafka is away for all, and nobody refuses", Duration::from_secs(25)).await?;
    private.start_again(Server::Kafka).await?;
    // The second one drains the outbox of both before the first has found the way again.
    both_promise("kafka is back for one", Duration::from_secs(2)).await?;
    private.way_to_kafka().restore().await?;
    both_promise("kafka is back for both", Duration::from_secs(5)).await?;
    published(&world, &ids, SOON * 3).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_has_lost_is_no_sign_that_others_publish() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("FAILOVER", 100).await?;
    let api = world.start_api().kafka_through(private.way_to_kafka()).await?;
    accepted(&world, &api, "FAILOVER", "before").await?;
    private.way_to_kafka().cut().await?;
    accepted(&world, &api, "FAILOVER", "lost").await?;
    // A failover to a replica that had not heard of it yet.
    let promise = world.stock.of("FAILOVER").await?.outbox[0].clone();
    let _: () = world.stock.redis().zrem(key("FAILOVER", "outbox"), promise).await?;
    world.stock.set_holder("FAILOVER", "lost", None).await?;
    world.stock.set_meta("FAILOVER", &[("holders", "1")]).await?;
    stays("it is ready", Duration::from_secs(20), async || api.admin_status("/readyz").await == Some(200)).await?;
    let answer = accepted(&world, &api, "FAILOVER", "after").await?;
    ensure!(answer.state == Some(State::Reserved), "{answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_told_to_stop_gives_up_its_leases() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("STOPS", 100).await?;
    // A lease that would outlive the test, of a process that holds it for the first half.
    let launch = world.start_api().kafka_through(private.way_to_kafka()).set("outbox.lease_ms", 120_000);
    let stops = launch.set("shutdown.drain_ms", 1000).await?;
    private.way_to_kafka().cut().await?;
    let ids = reserved(&world, &stops, "STOPS", 3).await?;
    leased(&world, "STOPS").await?;
    let _lives = world.start_api().await?;
    stops.terminate(SOON).await?;
    published(&world, &ids, TAKEN_OVER).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_without_its_last_records_ends_no_producer_of_events() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup { partitions: 1, ..Setup::on(private.servers()) }).await?;
    world.open_campaign("CUT", 1000).await?;
    let api = world.start_api().await?;
    for number in 0..20 {
        let answer = accepted(&world, &api, "CUT", &format!("before-{number}")).await?;
        ensure!(answer.state == Some(State::Accepted), "{answer:?}");
    }
    private.kill(Server::Kafka)?;
    let ids = reserved(&world, &api, "CUT", 3).await?;
    private.cut_log(world.topic.name(), 0, 5)?;
    private.start_again(Server::Kafka).await?;
    published(&world, &ids, SOON * 3).await?;
    let after = accepted(&world, &api, "CUT", "after").await?;
    ensure!(after.state == Some(State::Accepted), "{after:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_back_without_its_last_records_ends_no_producer_of_dead_letters() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup { dlq_partitions: 1, ..Setup::on(private.servers()) }).await?;
    world.open_campaign("CUT", 1000).await?;
    for number in 0..8 {
        world.fail_member("CUT", &format!("unlucky-{number}"), FailMode::Permanently).await?;
    }
    let api = world.start_api().await?;
    let _consumer = world.start_issue_consumer().await?;
    for number in 0..5 {
        accepted(&world, &api, "CUT", &format!("unlucky-{number}")).await?;
        dead_letters(&world, number + 1, SOON).await?;
    }
    private.kill(Server::Kafka)?;
    private.cut_log(world.dlq.name(), 0, 3)?;
    private.start_again(Server::Kafka).await?;
    ensure!(dead_letters(&world, 2, SOON).await?.len() == 2, "the last three are gone");
    let mut late = Vec::new();
    for number in 5..8 {
        late.extend(accepted(&world, &api, "CUT", &format!("unlucky-{number}")).await?.request_id);
    }
    eventually("those who fail now are in the dead letter topic", SOON * 3, async || -> Result<bool> {
        let letters = world.dlq.read().await?;
        let found: Vec<Uuid> = letters.iter().filter_map(|letter| Some(letter.event()?.request_id)).collect();
        Ok(late.iter().all(|id| found.contains(id)))
    })
    .await
}
