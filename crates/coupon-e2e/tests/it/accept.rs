//! A: accepting requests.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use coupon_e2e::{
    answers::{Answer, State},
    member::Member,
    process::Process,
    proxy::Proxy,
    wait::{eventually, stays},
    world::World,
};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{SOON, Services, issued_rows};

/// Lets members ask at once, half of them at each process.
async fn ask_at_once(
    world: &World,
    apis: &[&Process],
    code: &str,
    ids: impl Iterator<Item = String>,
) -> Result<Vec<Answer>> {
    let mut asking = JoinSet::new();
    for (number, id) in ids.enumerate() {
        let member = world.member(apis[number % apis.len()], &id)?;
        let code = code.to_owned();
        asking.spawn(async move { member.ask(&code).await });
    }
    Ok(asking.join_all().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_more_members_than_stock_exactly_stock_is_accepted_and_the_rest_sold_out() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("RUSH", 50).await?;
    let (services, second) = tokio::try_join!(Services::start(&world), world.start_api().into_future())?;
    let members = (0..200).map(|number| format!("member-{number}"));
    let answers = ask_at_once(&world, &[&services.api, &second], "RUSH", members).await?;
    let (held, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.is_held());
    assert_eq!(held.len(), 50);
    let other: Vec<_> = refused.iter().filter(|answer| !answer.is_refused_as(409, "SOLD_OUT")).collect();
    assert!(other.is_empty(), "{other:?}");
    issued_rows(&world, "RUSH", 50, SOON).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.accepted, verdict.refused, verdict.stock), (50, 150, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_the_same_member_in_parallel_a_hundred_times_has_one_request_id() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ONE", 10).await?;
    let (services, second) = tokio::try_join!(Services::start(&world), world.start_api().into_future())?;
    let same = (0..100).map(|_| "twin".to_owned());
    let answers = ask_at_once(&world, &[&services.api, &second], "ONE", same).await?;
    let ids: BTreeSet<Option<Uuid>> = answers.iter().map(|answer| answer.request_id).collect();
    assert_eq!(ids.len(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.status == Some(202)).count(), 1);
    assert!(answers.iter().all(Answer::is_held));
    let first = answers.iter().find(|answer| answer.status == Some(202)).context("the first answer")?;
    let status = format!("/api/v1/coupons/ONE/issues/{}", first.request_id.context("a request id")?);
    assert!(first.location.as_deref().is_some_and(|location| location.ends_with(&status)), "{first:?}");
    issued_rows(&world, "ONE", 1, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a3_before_opening_not_open_with_retry_after_and_after_closing_closed() -> Result<()> {
    let world = World::new().await?;
    let api = world.start_api().await?;
    let member = world.member(&api, "early-bird")?;
    let tomorrow = (Utc::now() + TimeDelta::hours(24)).to_rfc3339();
    world.create_campaign("TOMORROW", 10, &["--opens-at", &tomorrow]).await?;
    world.coupon(&["open", "TOMORROW"]).await?.succeeded()?;
    let early = member.ask("TOMORROW").await;
    assert!(early.is_refused_as(409, "NOT_OPEN"), "{early:?}");
    let seconds = early.retry_after.context("Retry-After")?;
    assert!((1..=86_400).contains(&seconds), "Retry-After {seconds}");
    assert!(early.content_type.as_deref().is_some_and(|kind| kind.starts_with("application/problem+json")));

    world.open_campaign("CLOSING", 10).await?;
    assert!(member.ask("CLOSING").await.is_held());
    world.coupon(&["close", "CLOSING"]).await?.succeeded()?;
    let late = world.member(&api, "late-comer")?.ask("CLOSING").await;
    assert!(late.is_refused_as(409, "CLOSED"), "{late:?}");

    let ends = Utc::now() + TimeDelta::hours(24);
    world.create_campaign("ENDING", 10, &["--closes-at", &ends.to_rfc3339()]).await?;
    world.coupon(&["open", "ENDING"]).await?.succeeded()?;
    assert!(member.ask("ENDING").await.is_held());
    assert_eq!(world.stock.of("ENDING").await?.number("closes_at"), Some(ends.timestamp_millis()));
    // The end comes by the clock of Redis; here it is moved instead of waited for.
    let now = Utc::now().timestamp_millis().to_string();
    world.stock.set_meta("ENDING", &[("closes_at", &now)]).await?;
    let late = world.member(&api, "too-late")?.ask("ENDING").await;
    assert!(late.is_refused_as(409, "CLOSED"), "{late:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a4_an_unknown_coupon_is_404_and_one_that_redis_has_lost_is_503() -> Result<()> {
    let world = World::new().await?;
    let api = world.start_api().await?;
    let member = world.member(&api, "somebody")?;
    let unknown = member.ask("NO-SUCH").await;
    assert!(unknown.is_refused_as(404, "COUPON_NOT_FOUND"), "{unknown:?}");
    assert_eq!(world.stock.of("NO-SUCH").await?, coupon_e2e::stock::CampaignStock::default());

    world.open_campaign("LOST", 10).await?;
    assert!(member.ask("LOST").await.is_held());
    world.stock.flush().await?;
    for id in ["somebody", "somebody-else"] {
        let answer = world.member(&api, id)?.ask("LOST").await;
        assert_eq!(answer.status, Some(503), "{answer:?}");
        assert!(answer.retry_after.is_some(), "{answer:?}");
    }
    assert_eq!(world.stock.of("LOST").await?.issued.len(), 0, "a fresh start");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a6_redis_gone_is_503_within_the_timeout_and_nothing_is_held() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AWAY", 10).await?;
    let proxy = Proxy::before(&world.redis_url).await?;
    // An answer within 4 s and 0.5 s, whatever happens; a second try of its own would take it to 8 s.
    let (response_ms, connect_ms) = (4000, 500);
    let launch = world.start_api().redis_through(&proxy);
    let api = launch.set("redis.response_timeout_ms", response_ms).set("redis.connect_timeout_ms", connect_ms).await?;
    let within = Duration::from_millis(response_ms + connect_ms) + BUSY;
    let member = world.member(&api, "somebody")?;
    proxy.cut().await?;
    unavailable(&member.ask("AWAY").await, within)?;
    assert_eq!(world.stock.of("AWAY").await?.issued.len(), 0);
    proxy.restore().await?;
    accepting_again(&world.member(&api, "somebody-else")?).await?;
    // What is sent into a stalled connection may still arrive: the outcome is unknown, and asking again is safe.
    proxy.stall().await?;
    unavailable(&member.ask("AWAY").await, within)?;
    assert_eq!(api.admin_status("/livez").await, Some(200), "liveness depends on no dependency");
    proxy.restore().await?;
    accepting_again(&member).await
}

/// Delay of an answer beyond its time limit that is allowed on a machine that runs all tests at once.
const BUSY: Duration = Duration::from_secs(2);

fn unavailable(answer: &Answer, within: Duration) -> Result<()> {
    ensure!(answer.status == Some(503) && answer.retry_after.is_some(), "{answer:?}");
    ensure!(answer.took < within, "{answer:?}");
    Ok(())
}

async fn accepting_again(member: &Member) -> Result<()> {
    let again = eventually("accepting goes on", Duration::from_secs(10), async || {
        Some(member.ask("AWAY").await).filter(Answer::is_held)
    });
    again.await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a8_what_a_killed_process_has_reserved_is_published_by_another() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("KILLED", 10).await?;
    // Between script and publish for thirty seconds: the producer waits for more records to send with it.
    let dies = world.start_api().set("kafka.properties.linger.ms", 30_000).set("outbox.min_age_ms", 60_000).await?;
    let member = world.member(&dies, "orphan")?;
    let asking = tokio::spawn(async move { member.ask("KILLED").await });
    let reserved = eventually("the reservation is in Redis", SOON, async || -> Result<Option<Uuid>> {
        Ok(world.stock.of("KILLED").await?.holder_of("orphan"))
    });
    let reserved = reserved.await?;
    assert!(world.topic.read().await?.is_empty(), "it is published already");
    dies.kill();
    asking.await?;
    let lives = world.start_api().await?;
    published(&world, &[reserved], SOON * 2).await?;
    let again = world.member(&lives, "orphan")?.ask("KILLED").await;
    assert_eq!((again.status, again.request_id, again.state), (Some(200), Some(reserved), Some(State::Accepted)));
    Ok(())
}

/// Waits until the topic holds an event of each request and the outbox is empty.
pub(crate) async fn published(world: &World, ids: &[Uuid], within: Duration) -> Result<()> {
    eventually("every reservation is published", within, async || -> Result<bool> {
        let records = world.topic.read().await?;
        let found: BTreeSet<Uuid> = records.iter().filter_map(|record| Some(record.event()?.request_id)).collect();
        Ok(ids.iter().all(|id| found.contains(id)))
    })
    .await?;
    eventually("the outbox is empty", within, async || -> Result<bool> {
        for code in world.stock.codes().await? {
            if !world.stock.of(&code).await?.outbox.is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_set_total_up_and_down_while_members_ask_never_gives_more_and_nobody_loses() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("MOVING", 20).await?;
    let services = Services::start(&world).await?;
    let members = (0..300).map(|number| world.member(&services.api, &format!("member-{number}")));
    let members: Vec<Member> = members.collect::<Result<_>>()?;
    let asking = tokio::spawn(async move {
        for some in members.chunks(5) {
            let mut asking = JoinSet::new();
            for member in some {
                let member = member.clone();
                asking.spawn(async move { member.ask("MOVING").await });
            }
            asking.join_all().await;
        }
    });
    for total in [40, 25, 60, 60, 10, 50] {
        // Said twice, as by somebody who got no answer; lowering below what is gone may be refused.
        world.set_total("MOVING", total).await?;
        world.set_total("MOVING", total).await?;
    }
    timed_out_and_repeated(&world, 70).await?;
    asking.await?;
    let last = world.answers.read().iter().filter(|answer| answer.is_held()).count();
    ensure!((20..=70).contains(&last), "{last} were accepted");
    issued_rows(&world, "MOVING", i64::try_from(last)?, SOON).await?;
    stays("nobody loses a coupon", Duration::from_secs(1), async || {
        crate::issued(&world, "MOVING").await.is_ok_and(|rows| rows == i64::try_from(last).unwrap_or(0))
    })
    .await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_a_total_that_comes_late_does_not_undo_a_newer_one() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LATE", 20).await?;
    let proxy = Proxy::before(&world.redis_url).await?;
    proxy.stall().await?;
    let redis = format!("redis.url={}", proxy.url());
    let patient = ["redis.response_timeout_ms=60000", "redis.connect_timeout_ms=60000"];
    let arguments = ["--set", &redis, "--set", patient[0], "--set", patient[1], "coupon", "set-total", "LATE", "30"];
    let late = world.run("issuer-api", &arguments);
    let newer = async {
        eventually("the late one has its version", SOON, async || -> Result<bool> {
            let version: i64 = sqlx::query_scalar("SELECT total_version FROM coupons").fetch_one(&world.db).await?;
            Ok(version == 1)
        })
        .await?;
        world.set_total("LATE", 40).await?.succeeded()?;
        proxy.restore().await
    };
    let (late, ()) = tokio::try_join!(late, newer)?;
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stderr.contains("newer change"), "{late:?}");
    assert_eq!(world.stock.of("LATE").await?.number("total"), Some(40));
    let total: i64 = sqlx::query_scalar("SELECT total_quantity FROM coupons").fetch_one(&world.db).await?;
    assert_eq!(total, 40);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_a_total_below_what_is_reserved_is_refused() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BELOW", 20).await?;
    // No consumer runs: PostgreSQL has issued none of them yet, and could not refuse.
    let api = world.start_api().await?;
    for number in 0..3 {
        ensure!(world.member(&api, &format!("member-{number}"))?.ask("BELOW").await.is_held());
    }
    let refused = world.set_total("BELOW", 2).await?;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert_eq!(world.stock.of("BELOW").await?.number("total"), Some(20));
    world.set_total("BELOW", 3).await?.succeeded()?;
    assert_eq!(world.stock.of("BELOW").await?.left(), Some(0));
    Ok(())
}

/// A call that loses Redis on the way and is made again.
async fn timed_out_and_repeated(world: &World, total: u64) -> Result<()> {
    let proxy = Proxy::before(&world.redis_url).await?;
    proxy.stall().await?;
    let redis = format!("redis.url={}", proxy.url());
    let total_text = total.to_string();
    let lost = world.run("issuer-api", &["--set", &redis, "coupon", "set-total", "MOVING", &total_text]).await?;
    ensure!(lost.code == Some(1), "{lost:?}");
    proxy.cut().await?;
    world.set_total("MOVING", total).await?.succeeded()?;
    Ok(())
}
