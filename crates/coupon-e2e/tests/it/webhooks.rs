//! H: what other systems are told about campaigns, and how it is signed.

use std::{collections::BTreeSet, path::Path, process::Stdio, slice, time::Duration};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_e2e::{
    console::{Console, operator},
    failures::FailMode,
    process::launch::Launch,
    wait::{eventually, stays},
    webhook::{Received, Webhook},
    world::World,
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};
use uuid::Uuid;

use crate::{AFTER_ALL_ATTEMPTS, SOON, alarms::plant, issued_rows, reconcile::reconcile, write::accepted};

/// Longest time until the verifiers are fetched, and have verified.
const VERIFIED_WITHIN: Duration = Duration::from_mins(3);

/// Secrets of receivers: 32 bytes each.
pub const SECRETS: [&str; 3] = [
    "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=",
    "whsec_MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE=",
    "whsec_MjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjI=",
];

/// Writes a secret to a file of the world, and returns its path.
pub fn secret_file(world: &World, name: &str, secret: &str) -> Result<String> {
    let file = world.folder().join(name);
    std::fs::write(&file, format!("{secret}\n"))?;
    Ok(file.display().to_string())
}

/// A `dlq-consumer` that tells the endpoint `shop`, with a secret of its own.
pub fn telling_shop(world: &World, shop: &Webhook) -> Result<Launch> {
    let file = secret_file(world, "shop.key", SECRETS[0])?;
    let launch = world.start_dlq_consumer().env("DLQ_CONSUMER__WEBHOOKS__ENDPOINTS__SHOP__URL", shop.url());
    let launch = launch.set("webhooks.endpoints.shop.secret_files", file).set("webhooks.timeout_ms", 1_000);
    Ok(launch.set("webhooks.endpoints.shop.allow_private", true).set("jobs.workers", 0))
}

/// Has the official verifiers verify what was received, by each of these secrets.
async fn verified(received: &[Received], secrets: &[&str]) -> Result<()> {
    let each = secrets.iter().flat_map(|secret| {
        received.iter().map(move |one| json!({ "secret": secret, "headers": one.headers, "body": one.text }))
    });
    let each: Vec<Value> = each.collect();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/webhook-verify");
    let mut verifier = Command::new(script);
    verifier.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut verifier = verifier.spawn()?;
    let mut stdin = verifier.stdin.take().context("stdin is piped")?;
    stdin.write_all(serde_json::to_string(&each)?.as_bytes()).await?;
    drop(stdin);
    let output = tokio::time::timeout(VERIFIED_WITHIN, verifier.wait_with_output()).await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for verifier in ["node", "python"] {
        ensure!(said.contains(&format!("{verifier}: {} verified", each.len())), "{said}");
    }
    Ok(())
}

fn kinds(received: &[Received]) -> BTreeSet<&str> {
    received.iter().filter_map(|one| one.body["type"].as_str()).collect()
}

async fn told(shop: &Webhook, kind: &str) -> Result<Received> {
    eventually(&format!("{kind} is told"), SOON * 2, async || {
        shop.taken().into_iter().rfind(|one| one.body["type"] == kind)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_to_campaigns_is_sent_signed_and_the_official_verifiers_take_it() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    let files = [secret_file(&world, "new.key", SECRETS[1])?, secret_file(&world, "old.key", SECRETS[2])?];
    let (api, _issue_consumer, _dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        telling_shop(&world, &shop)?.set("webhooks.endpoints.shop.secret_files", files.join(", ")).into_future()
    )?;
    world.open_campaign("TOLD", 3).await?;
    let opened = told(&shop, "opened").await?;
    let data = &opened.body["data"];
    ensure!((data["coupon"] == "TOLD") && (data["total"] == 3) && (data["from"] == "OPENING"), "{data}");

    world.fail_member("TOLD", "unlucky", FailMode::Permanently).await?;
    let unlucky = accepted(&world, &api, "TOLD", "unlucky").await?.request_id.context("a request")?;
    for member in ["one", "two"] {
        accepted(&world, &api, "TOLD", member).await?;
    }
    issued_rows(&world, "TOLD", 2, SOON).await?;
    let returned = eventually("the unit's return is told", AFTER_ALL_ATTEMPTS, async || {
        shop.taken().into_iter().find(|one| one.body["type"] == "unit_returned")
    })
    .await?;
    assert_eq!(returned.body["data"]["request_id"], unlucky.to_string());
    assert!(!kinds(&shop.taken()).contains("sold_out"), "one is left");
    accepted(&world, &api, "TOLD", "three").await?;
    assert_eq!(told(&shop, "sold_out").await?.body["data"]["issued"], 3);

    let lost = Uuid::now_v7();
    world.open_campaign("DRIFTS", 3).await?;
    world.stock.set_holder("DRIFTS", "gone", Some(lost)).await?;
    assert_eq!(reconcile(&world, &["DRIFTS"]).await?.code, Some(3));
    let drift = told(&shop, "drift_found").await?;
    ensure!(drift.body["data"]["drift"]["ORPHAN"] == json!({ "found": 1, "repaired": 0 }), "{}", drift.text);
    world.coupon(&["close", "TOLD"]).await?.succeeded()?;
    assert_eq!(told(&shop, "closed").await?.body["data"]["to"], "CLOSED");
    world.run("dlq-consumer", &["rebuild", "TOLD", "--yes", "--by", "olga"]).await?.succeeded()?;
    told(&shop, "suspect").await?;

    let received = shop.taken();
    let all = ["closed", "drift_found", "opened", "sold_out", "suspect", "unit_returned"];
    assert_eq!(kinds(&received), BTreeSet::from(all));
    verified(&received, &[SECRETS[1], SECRETS[2]]).await?;
    ensure!(verified(&received, &[SECRETS[0]]).await.is_err(), "a secret that signs nothing verifies nothing");
    let ids: BTreeSet<&String> = received.iter().filter_map(|one| one.headers.get("webhook-id")).collect();
    assert_eq!(ids.len(), received.len(), "each event has an id of its own");
    for member in ["unlucky", "three", "gone"] {
        ensure!(!received.iter().any(|one| one.text.contains(member)), "{member} is named");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_window_is_told_as_closed_and_a_later_end_once_more() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    let closed_only =
        || Ok::<_, anyhow::Error>(telling_shop(&world, &shop)?.set("webhooks.endpoints.shop.events", "closed"));
    let _two = tokio::try_join!(closed_only()?.into_future(), closed_only()?.into_future())?;
    world.open_campaign("ENDS", 1).await?;
    for told in 1..=2 {
        let end = (Utc::now() + TimeDelta::seconds(3)).to_rfc3339();
        world.coupon(&["set-window", "ENDS", "--closes-at", &end]).await?.succeeded()?;
        let closed = shop.takes(told, SOON * 2).await?.pop().context("an event")?;
        let data = &closed.body["data"];
        ensure!((data["coupon"] == "ENDS") && (data["from"] == "OPEN") && (data["to"] == "OVER"), "{data}");
        let at: DateTime<Utc> = closed.body["timestamp"].as_str().context("a time")?.parse()?;
        ensure!((at - end.parse::<DateTime<Utc>>()?).abs() < TimeDelta::milliseconds(1), "{at} {end}");
    }
    stays("each end is told once", Duration::from_secs(3), async || shop.received().len() == 2).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_secret_signs_the_next_event_and_an_endpoint_is_told_what_it_wants() -> Result<()> {
    let (world, shop) = (World::new().await?, Webhook::start().await?);
    let launch = telling_shop(&world, &shop)?.set("webhooks.endpoints.shop.events", "opened, closed");
    let dlq_consumer = launch.await?;
    world.open_campaign("ROTATED", 1).await?;
    verified(&[told(&shop, "opened").await?], &[SECRETS[0]]).await?;
    secret_file(&world, "shop.key", SECRETS[1])?;
    world.set_total("ROTATED", 0).await?.succeeded()?;
    world.coupon(&["close", "ROTATED"]).await?.succeeded()?;
    let closed = told(&shop, "closed").await?;
    verified(slice::from_ref(&closed), &[SECRETS[1]]).await?;
    ensure!(verified(slice::from_ref(&closed), &[SECRETS[0]]).await.is_err(), "the secret of before signs no more");
    assert_eq!(kinds(&shop.received()), BTreeSet::from(["closed", "opened"]));
    // A file that cannot be used leaves the secret of before in use.
    secret_file(&world, "shop.key", "nonsense")?;
    world.coupon(&["open", "ROTATED"]).await?.succeeded()?;
    verified(&shop.takes(3, SOON).await?[2..], &[SECRETS[1]]).await?;
    let said = |line: &coupon_e2e::process::logs::LogLine| line.message().starts_with("the secrets of before sign");
    dlq_consumer.wait_for_log("what is wrong with the file is said", SOON, said).await?;
    assert!(!dlq_consumer.log_contains(&SECRETS[1][6..]), "a secret reaches no log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_to_the_webhook_are_signed_too() -> Result<()> {
    let (world, webhook) = (World::new().await?, Webhook::start().await?);
    let file = secret_file(&world, "alarms.key", SECRETS[2])?;
    let launch = world.start_dlq_consumer().env("DLQ_CONSUMER__ALARMS__WEBHOOK_URL", webhook.url());
    let _dlq_consumer = launch.set("alarms.webhook_secret_files", file).set("alarms.digest_ms", 500).await?;
    plant(&world, "signed", 1).await?;
    let alarms = webhook.takes(1, SOON).await?;
    ensure!(alarms[0].headers["webhook-id"].starts_with("alarm_"), "{:?}", alarms[0].headers);
    verified(&alarms[..1], &[SECRETS[2]]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_sends_a_delivery_again_from_the_console_and_nobody_less() -> Result<()> {
    let (world, shop, console) = (World::new().await?, Webhook::start().await?, Console::new()?);
    let _dlq_consumer = telling_shop(&world, &shop)?.set("console.listen", console.address()).await?;
    console.answers().await?;
    let (admin, viewer) = (operator(&world, "ann", "admin").await?, operator(&world, "vera", "viewer").await?);
    world.open_campaign("AGAIN", 1).await?;
    let first = told(&shop, "opened").await?;
    let read = async |path: &str| -> Result<Value> {
        Ok(console.get(path).bearer_auth(&viewer).send().await?.error_for_status()?.json().await?)
    };
    let delivered = "/webhooks.json?status=DELIVERED&endpoint=shop";
    let delivery = eventually("it is listed", SOON, async || -> Result<Option<i64>> {
        Ok(read(delivered).await?["deliveries"]["known"][0]["id"].as_i64())
    })
    .await?;
    let page = console.get("/webhooks").bearer_auth(&admin).header("accept", "text/html").send().await?;
    let page = page.error_for_status()?.text().await?;
    ensure!(
        page.contains("shop") && page.contains("AGAIN") && page.contains(&format!("Send {delivery} again")),
        "{page}"
    );
    let path = format!("/webhooks/{delivery}/resend");
    let send = async |token: &str, path: &str| -> Result<u16> {
        let body = json!({ "reason": "the shop had lost it" });
        Ok(console.post(path).bearer_auth(token).json(&body).send().await?.status().as_u16())
    };
    assert_eq!((send(&viewer, &path).await?, send(&admin, "/webhooks/999999/resend").await?), (403, 404));
    assert_eq!(send(&admin, &path).await?, 200);
    let again = shop.takes(2, SOON).await?;
    let (first, again) =
        ((&first.headers["webhook-id"], &first.text), (&again[1].headers["webhook-id"], &again[1].text));
    assert_eq!(first, again, "the same event under the same id");
    let audited: (String, String) =
        sqlx::query_as("SELECT actor, reason FROM operator_audit WHERE verb = 'webhook.resend'")
            .fetch_one(&world.db)
            .await?;
    assert_eq!((audited.0.as_str(), audited.1.as_str()), ("ann", "the shop had lost it"));
    Ok(())
}
