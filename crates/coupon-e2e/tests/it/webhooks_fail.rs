//! H: webhooks whose endpoint fails, misbehaves, or is where none may be.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use coupon_e2e::{
    wait::{eventually, stays},
    webhook::{Manner, Webhook},
    world::World,
};
use serde_json::Value;

use crate::{
    SOON,
    webhooks::{SECRETS, secret_file, telling_shop},
};

/// Longest time until a delivery is sent again that failed once.
const SENT_AGAIN_WITHIN: Duration = Duration::from_secs(40);

async fn deliveries(world: &World) -> Result<Vec<Value>> {
    let printed = world.run("dlq-consumer", &["webhook", "list", "--output", "json"]).await?.succeeded()?;
    Ok(serde_json::from_str(&printed)?)
}

/// Waits until the newest delivery is so, and returns it.
async fn newest(world: &World, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(what, SOON * 2, async || -> Result<Option<Value>> {
        Ok(deliveries(world).await?.into_iter().next().filter(|newest| is_so(newest)))
    })
    .await
}

fn has_error(row: &Value, words: &str) -> bool {
    row["last_error"].as_str().is_some_and(|error| error.contains(words))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_410_switches_the_endpoint_off_until_an_operator_sends_again() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    shop.turn(Manner::Answers(410)).await?;
    let _dlq_consumer = telling_shop(&world, &shop)?.await?;
    world.open_campaign("GONE", 1).await?;
    let failed = newest(&world, "the delivery has failed", |row| row["status"] == "FAILED").await?;
    ensure!(has_error(&failed, "answers 410"), "{failed}");
    let notices: i64 = sqlx::query_scalar("SELECT count(*) FROM alarm_notices WHERE cause = 'WEBHOOK shop'")
        .fetch_one(&world.db)
        .await?;
    assert_eq!(notices, 1, "an alarm says so");
    shop.turn(Manner::Takes).await?;
    world.coupon(&["close", "GONE"]).await?.succeeded()?;
    stays("nothing is sent any more", Duration::from_secs(4), async || shop.received().len() == 1).await?;

    let id = failed["id"].as_i64().context("a number")?.to_string();
    world.run("dlq-consumer", &["webhook", "resend", &id, "--by", "olga"]).await?.succeeded()?;
    let taken = shop.takes(1, SOON).await?;
    assert_eq!(taken[0].headers["webhook-id"], shop.received()[0].headers["webhook-id"]);
    let endpoints = world.run("dlq-consumer", &["webhook", "endpoints", "--output", "json"]).await?.succeeded()?;
    let endpoints: Vec<Value> = serde_json::from_str(&endpoints)?;
    ensure!(endpoints.len() == 1 && endpoints[0]["off_at"].as_str().unwrap_or_default().is_empty(), "{endpoints:?}");
    world.coupon(&["open", "GONE"]).await?.succeeded()?;
    assert_eq!(shop.takes(2, SOON).await?[1].body["type"], "opened", "it is told again of what happens from now on");
    let absent = world.run("dlq-consumer", &["webhook", "resend", "999999", "--by", "olga"]).await?;
    ensure!(absent.code == Some(1) && absent.stderr.contains("there is no delivery 999999"), "{absent:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_is_honoured_and_a_redirect_is_not_followed() -> Result<()> {
    let (world, shop, elsewhere) = (World::new().await?, Webhook::start().await?, Webhook::start().await?);
    shop.turn(Manner::TooMany("9".to_owned())).await?;
    let dlq_consumer = telling_shop(&world, &shop)?.await?;
    world.open_campaign("LATER", 1).await?;
    eventually("it is tried", SOON, async || !shop.received().is_empty()).await?;
    shop.turn(Manner::Takes).await?;
    // What happens meanwhile waits too.
    world.coupon(&["close", "LATER"]).await?.succeeded()?;
    shop.takes(2, SENT_AGAIN_WITHIN).await?;
    let received = shop.received();
    for later in &received[1..] {
        ensure!(later.at - received[0].at >= TimeDelta::milliseconds(8_500), "{} {}", received[0].at, later.at);
    }
    let opened: Vec<_> = received.iter().filter(|one| one.body["type"] == "opened").collect();
    ensure!(opened.len() == 2 && opened[0].headers["webhook-id"] == opened[1].headers["webhook-id"], "{opened:?}");
    assert_eq!(opened[0].text, opened[1].text);
    eventually("both are counted", SOON, async || -> Result<bool> {
        Ok(dlq_consumer.metric("coupon_webhook_attempts_total", "outcome=\"taken\"").await? == Some(2.0))
    })
    .await?;

    shop.turn(Manner::SendsOn(elsewhere.url())).await?;
    world.coupon(&["open", "LATER"]).await?.succeeded()?;
    let refused = newest(&world, "the redirect is refused", |row| has_error(row, "redirects are not followed")).await?;
    ensure!(refused["status"] == "PENDING", "{refused}");
    shop.turn(Manner::Takes).await?;
    shop.takes(3, SENT_AGAIN_WITHIN).await?;
    assert!(elsewhere.received().is_empty(), "nothing goes anywhere else");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_public_is_refused_and_the_event_waits() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    let url = shop.url().replace("http://127.0.0.1", "https://localhost");
    let private = telling_shop(&world, &shop)?.env("DLQ_CONSUMER__WEBHOOKS__ENDPOINTS__SHOP__URL", &url);
    let dlq_consumer = private.set("webhooks.endpoints.shop.allow_private", false).await?;
    world.open_campaign("PRIVATE", 1).await?;
    let refused = newest(&world, "the address is refused", |row| has_error(row, "which is not public")).await?;
    ensure!(refused["status"] == "PENDING", "{refused}");
    assert!(shop.received().is_empty() && !dlq_consumer.log_contains(coupon_e2e::webhook::SECRET));
    drop(dlq_consumer);
    // Nothing is lost: the right address gets it.
    let _dlq_consumer = telling_shop(&world, &shop)?.await?;
    let id = refused["id"].as_i64().context("a number")?.to_string();
    world.run("dlq-consumer", &["webhook", "resend", &id, "--by", "olga"]).await?.succeeded()?;
    shop.takes(1, SOON).await?;

    let file = secret_file(&world, "key", SECRETS[0])?;
    let files = ("DLQ_CONSUMER__WEBHOOKS__ENDPOINTS__SHOP__SECRET_FILES", file.as_str());
    for literal in
        ["https://127.0.0.1/x", "https://2130706433/x", "https://[::ffff:127.0.0.1]/x", "https://169.254.169.254/"]
    {
        let url = ("DLQ_CONSUMER__WEBHOOKS__ENDPOINTS__SHOP__URL", literal);
        let refused = world.run_with("dlq-consumer", &["run"], &[url, files]).await?;
        ensure!(refused.code == Some(2) && refused.stderr.contains("webhooks.endpoints.shop.url"), "{refused:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_waits_for_ends_of_windows_that_cannot_be_told() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    sqlx::raw_sql(
        "CREATE OR REPLACE FUNCTION tell_ended_windows(ended_by timestamptz) RETURNS bigint LANGUAGE plpgsql
         AS $$ BEGIN RAISE EXCEPTION 'a trigger of somebody refuses it'; END $$",
    )
    .execute(&world.db)
    .await?;
    let dlq_consumer = telling_shop(&world, &shop)?.await?;
    world.open_campaign("UNTOLD", 1).await?;
    assert_eq!(shop.takes(1, SOON).await?[0].body["type"], "opened");
    let says_so = "ends of windows wait to be handed out to webhooks";
    dlq_consumer.wait_for_log("the log says it", SOON, |line| line.text.contains(says_so)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_fails_is_measured_until_it_takes_something() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    shop.turn(Manner::Answers(503)).await?;
    let dlq_consumer = telling_shop(&world, &shop)?.await?;
    world.open_campaign("MEASURED", 1).await?;
    let gauge = async |name: &str| dlq_consumer.metric(name, "endpoint=\"shop\"").await;
    eventually("it fails", SOON * 3, async || -> Result<bool> {
        let failing = gauge("coupon_webhook_failing_seconds").await?.is_some_and(|seconds| seconds > 0.0);
        Ok(failing && gauge("coupon_webhook_deliveries_waiting").await? == Some(1.0))
    })
    .await?;
    shop.turn(Manner::Takes).await?;
    let id = deliveries(&world).await?[0]["id"].as_i64().context("a number")?.to_string();
    world.run("dlq-consumer", &["webhook", "resend", &id, "--by", "olga"]).await?.succeeded()?;
    eventually("it works", SOON * 3, async || -> Result<bool> {
        let works = gauge("coupon_webhook_failing_seconds").await? == Some(0.0);
        Ok(works && gauge("coupon_webhook_deliveries_waiting").await? == Some(0.0))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_killed_between_sending_and_noting_sends_again_with_the_same_id() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    let launch = telling_shop(&world, &shop)?.env("COUPON_CRASH_AT", "note a webhook delivery:before");
    let killed = launch.await?;
    world.open_campaign("KILLED", 1).await?;
    shop.takes(1, SOON).await?;
    killed.exit(SOON).await?;
    ensure!(deliveries(&world).await?[0]["status"] == "PENDING", "nothing is noted");
    let _dlq_consumer = telling_shop(&world, &shop)?.await?;
    let taken = shop.takes(2, SENT_AGAIN_WITHIN).await?;
    assert_eq!(taken[0].headers["webhook-id"], taken[1].headers["webhook-id"]);
    assert_eq!(taken[0].text, taken[1].text);
    newest(&world, "it is delivered", |row| row["status"] == "DELIVERED").await?;
    Ok(())
}
