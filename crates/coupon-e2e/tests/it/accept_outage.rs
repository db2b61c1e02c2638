//! A7: the broker is gone. A9: a unit comes back.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    answers::{Answer, State},
    failures::FailMode,
    servers::private::{PrivateServers, Server},
    wait::{eventually, stays},
    world::{Setup, World},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{SOON, Services, accept::published, issued_rows, write::accepted};

/// Most entries of the outbox.
const CAP: usize = 150;
/// Members who ask while the broker is gone.
const ASKING: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a7_broker_gone_thirty_seconds_reserved_until_the_outbox_is_full_and_all_arrive_afterwards() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("ALONE", 1000).await?;
    let api = world.start_api().set("outbox.cap", CAP).await?;
    let first = accepted(&world, &api, "ALONE", "first").await?;
    eventually("the outbox is empty", SOON, async || -> Result<bool> {
        Ok(world.stock.of("ALONE").await?.outbox.is_empty())
    })
    .await?;

    private.kill(Server::Kafka)?;
    let mut asking = JoinSet::new();
    for number in 0..ASKING {
        let member = world.member(&api, &format!("member-{number}"))?;
        asking.spawn(async move { member.ask("ALONE").await });
    }
    let answers = asking.join_all().await;
    let reserved: Vec<&Answer> = answers.iter().filter(|answer| answer.is_held()).collect();
    for answer in &reserved {
        ensure!((answer.status, answer.state) == (Some(202), Some(State::Reserved)), "{answer:?}");
    }
    ensure!(reserved.len() == CAP, "{} of {CAP} are reserved", reserved.len());
    let full = |answer: &Answer| answer.is_refused_as(503, "OUTBOX_FULL") && answer.retry_after.is_some();
    let others: Vec<&Answer> = answers.iter().filter(|answer| !answer.is_held() && !full(answer)).collect();
    ensure!(others.is_empty(), "{others:?}");
    let late = world.member(&api, "late")?;
    stays("the outbox is full", Duration::from_secs(30), async || full(&late.ask("ALONE").await)).await?;

    private.start_again(Server::Kafka).await?;
    let ids: Vec<Uuid> = reserved.iter().copied().chain([&first]).filter_map(|answer| answer.request_id).collect();
    published(&world, &ids, SOON * 3).await?;
    let records = world.topic.read().await?;
    ensure!(records.len() < 2 * ids.len(), "{} records of {} reservations", records.len(), ids.len());
    let found: BTreeSet<Uuid> = records.iter().filter_map(|record| Some(record.event()?.request_id)).collect();
    assert_eq!(found, ids.iter().copied().collect(), "nothing else was published");

    let _consumer = world.start_issue_consumer().await?;
    issued_rows(&world, "ALONE", i64::try_from(ids.len())?, SOON * 2).await?;
    accepted(&world, &api, "ALONE", "late").await?;
    world.quiet(SOON * 2, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a9_a_unit_that_comes_back_to_a_sold_out_campaign_goes_to_the_next_member_who_asks() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SOLD", 1).await?;
    world.fail_member("SOLD", "unlucky", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    let next = world.member(&services.api, "next")?;
    accepted(&world, &services.api, "SOLD", "unlucky").await?;
    eventually("the unit is back", SOON, async || -> Result<bool> {
        Ok(world.stock.of("SOLD").await?.left() == Some(1))
    })
    .await?;
    let answer = next.ask("SOLD").await;
    let id = answer.request_id.filter(|_| answer.is_held()).with_context(|| format!("{answer:?}"))?;
    issued_rows(&world, "SOLD", 1, SOON).await?;
    assert_eq!(world.stock.of("SOLD").await?.holder_of("next"), Some(id));
    assert!(world.member(&services.api, "third")?.ask("SOLD").await.is_refused_as(409, "SOLD_OUT"));
    world.quiet(SOON, &[]).await?;
    Ok(())
}
