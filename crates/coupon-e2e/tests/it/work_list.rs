//! The operators' work list, by the real command.

use anyhow::Result;
use coupon_e2e::{failures::FailMode, wait::eventually, world::World};
use serde_json::Value;

use crate::{SOON, Services, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_request_is_listed_shown_and_settled_once_with_who_and_why() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LISTED", 10).await?;
    world.fail_campaign("LISTED", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    for member in ["first", "second"] {
        accepted(&world, &services.api, "LISTED", member).await?;
    }
    let rows = eventually("both are on the list, their units back", SOON, async || -> Result<Option<Vec<Value>>> {
        let rows: Vec<Value> = json(&world, &["list", "--output", "json"]).await?;
        let back = rows.iter().filter(|row| row["given_back_at"].is_string()).count();
        Ok((back == 2).then_some(rows))
    })
    .await?;
    assert!(rows.iter().all(|row| row["status"] == "PENDING" && row["coupon_code"] == "LISTED"), "{rows:?}");
    let [newer, older] = [&rows[0], &rows[1]].map(|row| row["id"].to_string());

    let shown = world.run("dlq-consumer", &["show", &older]).await?.succeeded()?;
    assert!(shown.contains("PENDING") && shown.contains("23514"), "{shown}");
    world.run("dlq-consumer", &["resolve", &older, "--by", "olga", "--reason", "issued by hand"]).await?.succeeded()?;
    world.run("dlq-consumer", &["ignore", &newer, "--by", "olga", "--reason", "a test member"]).await?.succeeded()?;

    let again = world.run("dlq-consumer", &["ignore", &older, "--by", "olga", "--reason", "again"]).await?;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("RESOLVED") && again.stderr.contains("PENDING"), "{}", again.stderr);
    let nothing = world.run("dlq-consumer", &["resolve", "999999", "--by", "olga", "--reason", "x"]).await?;
    assert!(nothing.code == Some(1) && nothing.stderr.contains("999999"), "{}", nothing.stderr);
    let silent = world.run("dlq-consumer", &["resolve", &older, "--by", "olga", "--reason", "  "]).await?;
    assert!(silent.code != Some(0) && silent.stderr.contains("--reason"), "{}", silent.stderr);

    let pending: Vec<Value> = json(&world, &["list", "--status", "PENDING", "--output", "json"]).await?;
    assert_eq!(pending.len(), 0);
    let resolved: Vec<Value> = json(&world, &["list", "--status", "RESOLVED", "--output", "json"]).await?;
    assert_eq!((&resolved[0]["resolved_by"], &resolved[0]["resolution"]), (&"olga".into(), &"issued by hand".into()));
    let audit: Vec<(String, String, String)> =
        sqlx::query_as("SELECT verb, actor, reason FROM operator_audit WHERE subject LIKE 'failed_%' ORDER BY id")
            .fetch_all(&world.db)
            .await?;
    let by_olga = |verb: &str, reason: &str| (verb.to_owned(), "olga".to_owned(), reason.to_owned());
    assert_eq!(audit, [by_olga("resolve", "issued by hand"), by_olga("ignore", "a test member")]);
    let wrong = world.run("dlq-consumer", &["list", "--status", "LOST"]).await?;
    assert!(wrong.code != Some(0) && wrong.stderr.contains("PENDING, RESOLVED, IGNORED"), "{}", wrong.stderr);
    Ok(())
}

async fn json(world: &World, arguments: &[&str]) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&world.run("dlq-consumer", arguments).await?.succeeded()?)?)
}
