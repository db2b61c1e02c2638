//! The crash sweep of webhooks: whoever hands out, sends and notes ends at each of its points, is started again, and each event
//! arrives under one id.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use coupon_e2e::{wait::eventually, webhook::Webhook, world::World};

use super::{
    points::OF_WEBHOOKS,
    sweep::{CONVERGED, aborted},
};
use crate::{SOON, webhooks::telling_shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_tells_webhooks_may_end_at_each_of_its_points() -> Result<()> {
    for effect in OF_WEBHOOKS {
        for moment in ["before", "after"] {
            let point = format!("{effect}:{moment}");
            told(effect, &point).await.with_context(|| point.clone())?;
            println!("swept {point}");
        }
    }
    Ok(())
}

async fn told(effect: &str, point: &str) -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    world.open_campaign("SWEPT", 1).await?;
    let end = (Utc::now() + TimeDelta::seconds(1)).to_rfc3339();
    world.coupon(&["set-window", "SWEPT", "--closes-at", &end]).await?.succeeded()?;
    if effect == "send a delivery again" {
        let _telling = telling_shop(&world, &shop)?.await?;
        shop.takes(2, SOON * 2).await?;
        delivered(&world, 2).await?;
        let id: i64 = sqlx::query_scalar("SELECT min(id) FROM webhook_deliveries").fetch_one(&world.db).await?;
        let id = id.to_string();
        let words: &[&str] = &["webhook", "resend", &id, "--by", "sweep"];
        let killed = world.run_with("dlq-consumer", words, &[("COUPON_CRASH_AT", point)]).await?;
        ensure!(killed.status.contains("signal"), "{killed:?}");
        world.run("dlq-consumer", words).await?.succeeded()?;
        shop.takes(3, SOON * 2).await?;
    } else {
        let victim = telling_shop(&world, &shop)?.env("COUPON_CRASH_AT", point).without_waiting().await?;
        aborted(&victim).await?;
        let _again = telling_shop(&world, &shop)?.await?;
        delivered(&world, 2).await?;
    }
    delivered(&world, 2).await?;
    let received = shop.taken();
    let kinds: BTreeSet<_> = received.iter().filter_map(|one| one.body["type"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["closed", "opened"]));
    let sent: BTreeSet<_> = received.iter().map(|one| (&one.headers["webhook-id"], &one.text)).collect();
    assert_eq!(sent.len(), 2, "the same under the same id, however often");
    Ok(())
}

async fn delivered(world: &World, deliveries: i64) -> Result<()> {
    eventually("all are delivered", CONVERGED, async || -> Result<bool> {
        let all: (i64, i64) =
            sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE status = 'DELIVERED') FROM webhook_deliveries")
                .fetch_one(&world.db)
                .await?;
        Ok(all == (deliveries, deliveries))
    })
    .await
}
