//! Background loops: one that ends unasked ends the service, so that a whole one is started.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    process::{Process, launch::Launch},
    wait::{eventually, stays},
    world::World,
};
use futures_util::future::try_join_all;

use crate::{AFTER_ALL_ATTEMPTS, SOON, write::accepted};

/// The loops of each service by their names, which are the failpoints at which they can be made to panic.
const OF_API: &[&str] = &[
    "acknowledgements",
    "admissions",
    "admin listener",
    "contract",
    "listener",
    "redis watch",
    "relay",
    "sequences",
    "signal watch",
    "topic watch",
];
const OF_ISSUE_CONSUMER: &[&str] = &["admin listener", "consumer lag", "contract", "engine", "signal watch"];
const OF_DLQ_CONSUMER: &[&str] = &[
    "admin listener",
    "alarms",
    "consumer lag",
    "contract",
    "engine",
    "gauges",
    "give-backs",
    "job workers",
    "jobs",
    "jobs watch",
    "newer versions",
    "reconcile",
    "redis watch",
    "replay settling",
    "replays",
    "retention",
    "signal watch",
    "webhook events",
];

async fn ends(launch: Launch, point: &str) -> Result<()> {
    let process = launch.env("COUPON_PANIC_AT", point).without_waiting().await?;
    ended(&process).await.with_context(|| point.to_owned())
}

async fn ended(process: &Process) -> Result<()> {
    let status = process.exit(SOON * 4).await?;
    ensure!(status.code() == Some(1), "{status}");
    ensure!(process.log_contains("panicked although the service is not stopping"), "{:?}", process.log());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_panics_ends_its_service_with_an_error() -> Result<()> {
    let world = World::new().await?;
    let at = |name: &str| format!("{name}:before");
    for names in OF_API.chunks(3) {
        try_join_all(names.iter().map(async |name| ends(world.start_api(), &at(name)).await)).await?;
    }
    for names in OF_ISSUE_CONSUMER.chunks(3) {
        try_join_all(names.iter().map(async |name| ends(world.start_issue_consumer(), &at(name)).await)).await?;
    }
    for names in OF_DLQ_CONSUMER.chunks(3) {
        let launch = || world.start_dlq_consumer().set("reconcile.every_ms", 60_000);
        try_join_all(names.iter().map(async |name| ends(launch(), &at(name)).await)).await?;
    }
    let away = coupon_e2e::proxy::Proxy::before(&world.database_url).await?;
    away.cut().await?;
    ends(world.start_api().database_through(&away), &at("schema watch")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_that_panics_at_its_work_ends_its_service_with_an_error() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LOOPS", 10).await?;
    // An outbox without entries is not leased, and this one no relay can publish.
    world.stock.set_outbox("LOOPS", "no entry").await?;
    ends(world.start_api(), "lease an outbox:before").await?;
    let api = world.start_api().env("COUPON_PANIC_AT", "delete promises:before").await?;
    world.fail_member("LOOPS", "unlucky", FailMode::Permanently).await?;
    accepted(&world, &api, "LOOPS", "unlucky").await?;
    ended(&api).await.context("delete promises")?;
    ends(world.start_issue_consumer(), "store an offset:before").await?;
    let _consumer = world.start_issue_consumer().await?;
    ends(world.start_dlq_consumer(), "give a unit back:before").await
}

/// Each pass of the give-back worker meets the broken campaign again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_whose_units_cannot_be_given_back_is_said_once_a_minute_and_holds_no_other_up() -> Result<()> {
    let world = World::new().await?;
    for code in ["BROKEN", "SOUND"] {
        world.open_campaign(code, 2).await?;
        sqlx::query(
            "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at)
             SELECT coupon_id, gen_random_uuid(), 'somebody', 'COMPENSATED', 1, 1, now() FROM coupons WHERE coupon_code = $1",
        )
        .bind(code)
        .execute(&world.db)
        .await?;
    }
    // Whoever wrote it, it is no map of holders.
    let key = coupon_e2e::stock::key("BROKEN", "issued");
    redis::cmd("DEL").arg(&key).exec_async(&mut world.stock.redis()).await?;
    redis::cmd("SET").arg(&key).arg("rubbish").exec_async(&mut world.stock.redis()).await?;
    let dlq_consumer = world.start_dlq_consumer().set("sweeper.interval_ms", 100).await?;
    let said = || {
        let log = dlq_consumer.log();
        log.iter().filter(|line| line.message().starts_with("units of BROKEN cannot be given back")).count()
    };
    eventually("it is said", SOON, async || said() == 1).await?;
    stays("it is not said again", std::time::Duration::from_secs(3), async || said() == 1).await?;
    let left: Vec<String> = sqlx::query_scalar(
        "SELECT coupon_code FROM coupon_issues JOIN coupons USING (coupon_id) WHERE given_back_at IS NULL",
    )
    .fetch_all(&world.db)
    .await?;
    ensure!(left == ["BROKEN"], "{left:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_that_cannot_be_put_into_words_ends_nothing_and_is_said_in_the_log() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("WORDS", 10).await?;
    world.fail_member("WORDS", "unlucky", FailMode::Permanently).await?;
    let (api, _issue_consumer, dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().env("COUPON_PANIC_AT", "word an alarm:before").into_future()
    )?;
    accepted(&world, &api, "WORDS", "unlucky").await?;
    let said = |line: &coupon_e2e::process::logs::LogLine| line.text.contains("cannot be composed");
    dlq_consumer.wait_for_log("the alarm is said", AFTER_ALL_ATTEMPTS, said).await?;
    eventually("the unit is back", SOON, async || -> Result<bool> {
        Ok(world.stock.of("WORDS").await?.left() == Some(10))
    })
    .await?;
    stays("it runs", std::time::Duration::from_secs(2), async || dlq_consumer.is_running()).await?;
    let status = dlq_consumer.terminate(SOON).await?;
    ensure!(status.success(), "{status}");
    Ok(())
}
