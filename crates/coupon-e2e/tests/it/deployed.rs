//! What a cluster asks of the binaries beside their work: whether members are served, and the schema before the services.

use std::time::Duration;

use anyhow::Result;
use coupon_e2e::{member::http_client, process::Process, proxy::Proxy, wait::eventually, world::World};

use crate::SOON;

/// Several tries to connect: the command has to come back after each.
const AWAY_FOR: Duration = Duration::from_secs(3);

/// Returns what the port for members says to a load balancer.
async fn healthz(api: &Process) -> Option<(u16, String)> {
    let answer = http_client().ok()?.get(format!("{}/healthz", api.http_url().ok()?)).send().await.ok()?;
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    Some((status, answer.text().await.ok()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_for_members_is_healthy_from_its_start_on_and_while_redis_is_away() -> Result<()> {
    let world = World::new().await?;
    let redis = Proxy::before(&world.redis_url).await?;
    redis.cut().await?;
    let api = world.start_api().redis_through(&redis).without_waiting().await?;
    eventually("it does not serve yet", SOON, async || healthz(&api).await == Some((503, "starting\n".to_owned())))
        .await?;
    redis.restore().await?;
    let served = Some((200, "ok\n".to_owned()));
    eventually("it serves", SOON, async || healthz(&api).await == served).await?;
    eventually("it is ready", SOON, async || api.admin_status("/readyz").await == Some(200)).await?;
    redis.cut().await?;
    eventually("it is not ready", SOON, async || api.admin_status("/readyz").await == Some(503)).await?;
    assert_eq!(healthz(&api).await, served);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrate_waits_for_a_postgresql_that_is_away() -> Result<()> {
    let world = World::new().await?;
    let database = Proxy::before(&world.database_url).await?;
    database.cut().await?;
    let through = [("DATABASE_URL", database.url())];
    let quickly = "database.acquire_timeout_ms=500";
    let words = ["migrate", "--wait-s", "30", "--set", quickly];
    let (waited, restored) = tokio::join!(world.run_with("issue-consumer", &words, &through), async {
        tokio::time::sleep(AWAY_FOR).await;
        database.restore().await
    });
    restored?;
    let waited = waited?;
    assert_eq!(waited.code, Some(0), "{}", waited.stderr);
    assert!(
        waited.stderr.contains("postgresql is waited for") && waited.stderr.contains("which fits"),
        "{}",
        waited.stderr
    );
    Ok(())
}
