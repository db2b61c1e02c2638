//! What members hear when they list their requests.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{wait::eventually, world::World};
use uuid::Uuid;

use crate::{SOON, Services, issued_rows, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_lists_all_requests_newest_first_page_by_page_the_undecided_ones_too() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    let mut ids = Vec::new();
    for code in ["FIRST", "SECOND", "THIRD"] {
        world.open_campaign(code, 10).await?;
        ids.push(accepted(&world, &services.api, code, "alice").await?.request_id.context("a request id")?);
        accepted(&world, &services.api, code, "bob").await?;
        issued_rows(&world, code, 2, SOON).await?;
    }
    services.issue_consumer.terminate(SOON).await?;
    world.open_campaign("FOURTH", 10).await?;
    ids.push(accepted(&world, &services.api, "FOURTH", "alice").await?.request_id.context("a request id")?);
    ids.reverse();
    let alice = world.member(&services.api, "alice")?;
    let (mut listed, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let (status, headers, page) = alice.get(&format!("/api/v1/issues/mine{query}")).await?;
        ensure!(status == 200 && page["complete"] == true && headers["cache-control"] == "no-store", "{page}");
        listed.extend(page["issues"].as_array().context("a list")?.clone());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=3&before={next}");
    }
    let found: Vec<String> = listed.iter().filter_map(|one| Some(one["request_id"].as_str()?.to_owned())).collect();
    assert_eq!(found, ids.iter().map(Uuid::to_string).collect::<Vec<_>>());
    assert_eq!(listed[0]["state"], "accepted");
    assert!(listed[1..].iter().all(|one| one["state"] == "issued"), "{listed:?}");
    let (status, _, wrong) = alice.get("/api/v1/issues/mine?limit=0").await?;
    ensure!(status == 422 && wrong["code"] == "INVALID_QUERY", "{wrong}");
    let (_, _, none) = world.member(&services.api, "carol")?.get("/api/v1/issues/mine").await?;
    ensure!(none["issues"] == serde_json::json!([]) && none["next"].is_null(), "{none}");
    // What cannot be looked up is said.
    world.stock.set_meta("FOURTH", &[("status", "SUSPECT")]).await?;
    let (_, _, rest) = alice.get("/api/v1/issues/mine").await?;
    ensure!(rest["complete"] == false && rest["issues"].as_array().is_some_and(|rest| rest.len() == 3), "{rest}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_lists_than_are_looked_up_at_a_time_are_answered_and_say_that_they_are_not_complete() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LISTS", 10).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "LISTS", "alice").await?;
    issued_rows(&world, "LISTS", 1, SOON).await?;
    let alice = world.member(&services.api, "alice")?;
    let list = async || Ok::<_, anyhow::Error>(alice.get("/api/v1/issues/mine").await?.2);
    // Four lists wait for this; the others do not wait for them.
    let mut held = world.db.begin().await?;
    sqlx::query("LOCK TABLE dlq_events").execute(&mut *held).await?;
    let told = <[serde_json::Value; 5]>::from(tokio::try_join!(list(), list(), list(), list(), list())?);
    let incomplete = told.iter().filter(|told| told["complete"] == false && told["issues"][0]["state"] == "issued");
    assert_eq!(incomplete.count(), 1, "{told:?}");
    held.rollback().await?;
    eventually("it is complete again", SOON, async || Ok::<_, anyhow::Error>(list().await?["complete"] == true)).await
}
