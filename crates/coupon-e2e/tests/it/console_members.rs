//! C: requests and members by the console: what support finds out there.

use anyhow::{Context, Result};
use coupon_e2e::{
    console::{Console, operator},
    failures::FailMode,
    wait::eventually,
    world::World,
};
use serde_json::{Value, json};

use crate::{AFTER_ALL_ATTEMPTS, SOON, console_campaigns::json_of, issued_rows, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_support_is_told_why_a_member_has_none_and_what_became_of_a_request() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("SOLD", 1).await?;
    world.open_campaign("RUNS", 5).await?;
    world.create_campaign("DRAFT", 5, &[]).await?;
    let api = world.start_api().await?;
    let _writer = world.start_issue_consumer().await?;
    let _dlq = console.start(&world).await?;
    let (support, viewer) = (operator(&world, "sue", "support").await?, operator(&world, "vera", "viewer").await?);
    accepted(&world, &api, "SOLD", "alice/1").await?;
    issued_rows(&world, "SOLD", 1, SOON).await?;

    let found = console.get("/members?id=alice%2F1").bearer_auth(&support).send().await?;
    let path = found.headers().get("location").context("a way to the member")?.to_str()?.to_owned();
    assert_eq!(path, "/members/alice%2F1");
    let (status, alice) = json_of(&console, &support, &path).await?;
    let request = &alice["requests"][0];
    assert!(status == 200 && request["state"] == "ISSUED" && request["coupon_code"] == "SOLD", "{alice}");
    let (_, bob) = json_of(&console, &support, "/members/bob?redis=yes").await?;
    let why: Vec<(&str, &str)> = (bob["campaigns"].as_array().into_iter().flatten())
        .filter_map(|row| Some((row["coupon_code"].as_str()?, row["why"].as_str()?)))
        .collect();
    assert_eq!(why, [("DRAFT", "not_open_yet"), ("RUNS", "asked_nothing"), ("SOLD", "sold_out")]);
    let sold = &bob["campaigns"][2];
    let seq: i64 = sqlx::query_scalar("SELECT max(seq) FROM coupon_issues").fetch_one(&world.db).await?;
    let last = format!("with sequence {seq};");
    assert!(sold["facts"].as_str().is_some_and(|facts| facts.contains(&last)), "{sold}");
    assert!(bob["redis"]["known"].as_array().is_some_and(Vec::is_empty), "{bob}");
    let page = console.get(&path).bearer_auth(&support).header("accept", "text/html").send().await?.text().await?;
    assert!(page.contains("You have this coupon."), "{page}");
    assert_eq!(json_of(&console, &support, "/members/a%00b").await?.0, 400);
    assert_eq!(json_of(&console, &viewer, &path).await?.0, 403);

    let id = request["request_id"].as_str().context("a request id")?;
    let path = format!("/requests/{id}");
    let (_, told) = json_of(&console, &viewer, &path).await?;
    let steps: Vec<&str> =
        told["steps"].as_array().into_iter().flatten().filter_map(|step| step["what"].as_str()).collect();
    assert_eq!(steps, ["Asked for", "Reserved a unit", "Published", "Decided ISSUED"]);
    assert_eq!((&told["member_id"], &told["redis"]), (&json!("al…"), &Value::Null));
    let page = console.get(&path).bearer_auth(&viewer).header("accept", "text/html").send().await?.text().await?;
    assert!(page.contains("class=\"timeline\"") && !page.contains("alice/1") && !page.contains("alice%2F1"), "{page}");
    assert_eq!(json_of(&console, &viewer, &format!("{path}?redis=yes")).await?.0, 403);
    let denied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM operator_audit WHERE change ->> 'denied' = 'requests.ask-redis'")
            .fetch_one(&world.db)
            .await?;
    assert_eq!(denied, 1);
    let (_, asked) = json_of(&console, &support, &format!("{path}?redis=yes")).await?;
    assert_eq!(asked["redis"]["known"]["holds"]["pending"], false, "{asked}");
    assert_eq!(json_of(&console, &viewer, "/requests/01900000-0000-7000-8000-000000000000").await?.0, 404);
    assert_eq!(json_of(&console, &viewer, "/requests/17").await?.0, 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_a_compensated_request_is_told_to_its_end_and_the_member_kindly() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("HURT", 5).await?;
    let api = world.start_api().await?;
    let _writer = world.start_issue_consumer().await?;
    let _dlq = console.start(&world).await?;
    let support = operator(&world, "sue", "support").await?;
    world.fail_member("HURT", "carol", FailMode::Always).await?;
    accepted(&world, &api, "HURT", "carol").await?;
    let carol = eventually("the unit is given back", AFTER_ALL_ATTEMPTS, async || -> Result<Option<Value>> {
        let (_, carol) = json_of(&console, &support, "/members/carol").await?;
        let facts = carol["requests"][0]["facts"].as_str().unwrap_or_default();
        Ok(facts.contains("was given back").then_some(carol.clone()))
    })
    .await?;
    let request = &carol["requests"][0];
    assert_eq!(request["state"], "COMPENSATED", "{carol}");
    assert!(request["sentence"].as_str().is_some_and(|text| text.contains("we are sorry")), "{carol}");
    let id = request["request_id"].as_str().context("a request id")?;
    let (_, told) = json_of(&console, &support, &format!("/requests/{id}")).await?;
    let steps: Vec<&str> =
        told["steps"].as_array().into_iter().flatten().filter_map(|step| step["what"].as_str()).collect();
    for wanted in ["Reserved a unit", "First attempt failed", "Dead-lettered", "Decided COMPENSATED", "Unit given back"]
    {
        assert!(steps.contains(&wanted), "{wanted} in {steps:?}");
    }
    Ok(())
}
