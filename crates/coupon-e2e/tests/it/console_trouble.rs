//! S: what becomes of consuming while the console is in trouble.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use coupon_e2e::{
    console::{Console, operator},
    failures::FailMode,
    wait::eventually,
    world::World,
};
use futures_util::future::join_all;

use crate::{AFTER_ALL_ATTEMPTS, SOON, Services, issued_rows, write::accepted};

/// Browsers at a time, more than the console has places for.
const BROWSERS: usize = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_in_trouble_does_not_touch_consuming() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("CALM", 10).await?;
    // All four attempts of issue-consumer fail, and the first of dlq-consumer.
    let mut rules = Vec::new();
    for member in ["a", "b", "c"] {
        rules.push(world.fail_member("CALM", member, FailMode::Times(5)).await?);
    }
    let (api, issue_consumer, dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world
            .start_dlq_consumer()
            .set("console.listen", console.address())
            .set("console.max_connections", 1)
            .into_future(),
    )?;
    let services = Services { api, issue_consumer, dlq_consumer };
    let token = operator(&world, "alice", "viewer").await?;
    console.answers().await?;

    // Nobody can be looked up, so that each request waits and holds the console's only connection.
    let mut lock = world.db.begin().await?;
    sqlx::query("LOCK TABLE operators IN ACCESS EXCLUSIVE MODE").execute(&mut *lock).await?;
    let over = Arc::new(AtomicBool::new(false));
    let flood = tokio::spawn({
        let (console, over, token) = (console.clone(), Arc::clone(&over), token.clone());
        async move {
            let browser = || async {
                while !over.load(Ordering::Acquire) {
                    // Whatever it answers, or does not.
                    let _ = console.get("/").bearer_auth(&token).send().await;
                    let _ = console.log_in("token", "cop_guess").await;
                }
            };
            join_all((0..BROWSERS).map(|_| browser())).await;
        }
    });
    // And what connections it has are cut.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND application_name = 'dlq-consumer console'";
    eventually("the console has connected", SOON, async || -> Result<bool> {
        Ok(sqlx::query_scalar::<_, i64>(cut).fetch_one(&world.db).await? > 0)
    })
    .await?;

    for member in ["a", "b", "c"] {
        accepted(&world, &services.api, "CALM", member).await?;
    }
    issued_rows(&world, "CALM", 3, AFTER_ALL_ATTEMPTS).await?;
    assert_eq!(services.dlq_consumer.admin_status("/readyz").await, Some(200), "readiness is that of consuming");
    let answer = tokio::time::timeout(Duration::from_secs(1), services.dlq_consumer.metrics()).await??;
    assert!(answer.contains("coupon_http_connections{listener=\"console\"}"), "the admin listener answers at once");
    over.store(true, Ordering::Release);
    lock.rollback().await?;
    flood.await?;
    eventually("the console serves again", SOON, async || {
        let page = console.get("/health.json").bearer_auth(&token).send().await;
        page.is_ok_and(|page| page.status() == 200)
    })
    .await?;
    assert!(services.dlq_consumer.is_running());
    world.quiet(SOON, &[]).await?;
    Ok(())
}
