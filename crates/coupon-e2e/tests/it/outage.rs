//! O: an outage decides no request. R4, R5: an outage between the decision and the give-back.

use std::time::Duration;

use anyhow::{Context, Result};
use coupon_e2e::{
    failures::FailMode,
    process::logs::LogLine,
    proxy::Proxy,
    wait::{eventually, pause},
    world::World,
};

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, issued_rows, unavailable,
    write::{accepted, dead_letters},
};

/// Work resumes within this time of a recovery (DESIGN, I8).
const RESUMED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_postgresql_gone_for_a_minute_no_dead_letter_no_compensation_no_attempt_charged() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("OUTAGE", 100).await?;
    let way = Proxy::before(&world.database_url).await?;
    let (api, issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().database_through(&way).into_future(),
        world.start_dlq_consumer().database_through(&way).into_future()
    )?;
    accepted(&world, &api, "OUTAGE", "before").await?;
    issued_rows(&world, "OUTAGE", 1, SOON).await?;
    way.cut().await?;
    for member in 0..20 {
        accepted(&world, &api, "OUTAGE", &format!("during-{member}")).await?;
    }
    issue.wait_for_log("the breaker opens", SOON, unavailable).await?;
    pause(Duration::from_mins(1)).await;
    way.restore().await?;
    let back = |line: &LogLine| line.message().starts_with("dependency available again");
    issue.wait_for_log("work goes on", RESUMED, back).await?;
    issued_rows(&world, "OUTAGE", 21, SOON).await?;
    assert_eq!(dead_letters(&world, 0, SOON).await?.len(), 0);
    assert!(!issue.log_contains("attempt failed"), "no attempt was charged");
    let revoked = issue.log().iter().filter(|line| line.message().starts_with("partitions revoked")).count();
    assert_eq!(revoked, 0, "it stayed in the group");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (21, 0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_redis_gone_after_the_decision_the_sweeper_finishes_and_the_dlq_is_not_blocked() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SWEPT", 2).await?;
    world.fail_campaign("SWEPT", FailMode::Permanently).await?;
    let way = Proxy::before(&world.redis_url).await?;
    let (api, _issue, dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().redis_through(&way).into_future()
    )?;
    way.cut().await?;
    for member in ["first", "second"] {
        accepted(&world, &api, "SWEPT", member).await?;
    }
    eventually("both are decided without redis", SOON, async || -> Result<bool> {
        Ok(world.dlq.committed(&world.group_of("dlq-consumer")).await?.values().sum::<i64>() == 2)
    })
    .await?;
    assert_eq!(world.stock.of("SWEPT").await?.left(), Some(0), "nothing is given back yet");
    let waits = |line: &LogLine| line.message().starts_with("units cannot be given back now");
    dlq.wait_for_log("the give-back worker waits", SOON, waits).await?;
    way.restore().await?;
    eventually("both units are back", RESUMED, async || -> Result<bool> {
        Ok(world.stock.of("SWEPT").await?.left() == Some(2))
    })
    .await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_postgresql_gone_at_giving_up_nothing_acknowledged_and_nothing_compensated() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("GIVING-UP", 1).await?;
    world.fail_campaign("GIVING-UP", FailMode::Always).await?;
    let way = Proxy::before(&world.database_url).await?;
    let (api, _issue, dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().database_through(&way).into_future()
    )?;
    let id = accepted(&world, &api, "GIVING-UP", "unlucky").await?.request_id.context("a request id")?;
    let second = |line: &LogLine| {
        line.is_about(id) && line.message().starts_with("attempt failed") && line.number_of("attempt") == Some(2)
    };
    dlq.wait_for_log("the attempt before the last", AFTER_ALL_ATTEMPTS, second).await?;
    way.cut().await?;
    pause(Duration::from_secs(8)).await;
    let decided: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?;
    assert_eq!(decided, 0);
    assert_eq!(world.dlq.committed(&world.group_of("dlq-consumer")).await?.values().sum::<i64>(), 0);
    way.restore().await?;
    eventually("it is given up after the outage", RESUMED + SOON, async || -> Result<bool> {
        Ok(world.stock.of("GIVING-UP").await?.left() == Some(1))
    })
    .await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (0, 1));
    Ok(())
}
