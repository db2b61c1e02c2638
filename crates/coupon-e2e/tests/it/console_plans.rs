//! S: plans, kept views and bounded searches of the console's work list, through HTTP as a browser and a program ask them.

use anyhow::{Context, Result};
use coupon_e2e::{
    console::{Console, operator},
    wait::eventually,
    world::World,
};
use serde_json::{Value, json};

use crate::{
    SOON,
    console_work::{Desk, numbers, text},
    rows::{Entry, Letter},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_shows_what_it_hits_and_becomes_a_job_in_the_operators_name() -> Result<()> {
    let world = World::new().await?;
    let ids = [Entry::default().plant(&world).await?, Entry::default().plant(&world).await?];
    Entry { status: "IGNORED", ..Entry::default() }.plant(&world).await?;
    let desk = Desk::new(&world, "olga", "operator").await?;

    let (status, problem) = desk.change("/plans/resolve", json!({ "list": "work" })).await?;
    assert!(status == 400 && text(&problem, "detail")?.contains("nothing is selected"), "{problem}");
    let asked = json!({ "list": "work", "what": "filter", "query": "status=PENDING&cause=planted" });
    let (status, plan) = desk.change("/plans/resolve", asked).await?;
    assert!(status == 200 && plan["eligible"] == 2 && plan["is_open"].is_null(), "{plan}");
    // What comes later is not meant.
    let later = Entry::default().plant(&world).await?;
    let path = format!("/plans/{}", plan["plan_id"]);
    let (_, shown) = desk.json(&format!("{path}.json")).await?;
    assert!(shown["is_open"] == true && shown["sample"].as_array().is_some_and(|rows| rows.len() == 2), "{shown}");
    let (_, page) = desk.html(&path).await?;
    assert!(page.contains("dlq-consumer resolve") && page.contains("Confirm: resolve 2"), "{page}");
    assert_eq!(desk.change(&format!("{path}/confirm"), json!({})).await?.0, 400, "a reason is needed");

    let (status, confirmed) = desk.change(&format!("{path}/confirm"), json!({ "reason": "put right" })).await?;
    let job = confirmed["job"]["job"].as_i64().with_context(|| format!("{status} {confirmed}"))?;
    eventually("the job is done", SOON, async || -> Result<bool> {
        Ok(desk.json(&format!("/jobs/{job}.json")).await?.1["status"] == "DONE")
    })
    .await?;
    let rows: Vec<(i64, String, Option<String>)> =
        sqlx::query_as("SELECT id, status, resolved_by FROM failed_coupon_issues ORDER BY id")
            .fetch_all(&world.db)
            .await?;
    for (id, status, by) in rows {
        let expected = ids.contains(&id).then_some("olga");
        assert!(by.as_deref().filter(|by| *by == "olga") == expected, "{id} {status} {by:?}");
        assert!(id != later || status == "PENDING", "{id} came after the plan");
    }
    let of_rows =
        "SELECT provenance FROM operator_audit WHERE verb = 'resolve' AND subject LIKE 'failed_coupon_issues/%'";
    let plans: Vec<Value> = sqlx::query_scalar(of_rows).fetch_all(&world.db).await?;
    assert!(plans.len() == 2 && plans.iter().all(|of| of["plan_id"] == plan["plan_id"]), "{plans:?}");
    let (status, again) = desk.change(&format!("{path}/confirm"), json!({ "reason": "twice" })).await?;
    assert!(status == 409 && text(&again, "detail")?.contains("olga confirmed"), "{again}");
    Ok(())
}

/// Inserts so many entries of a campaign.
async fn plant_many(world: &World, campaign: &str, entries: i32) -> Result<()> {
    sqlx::query(
        "INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason)
         SELECT $1, 'm' || n, gen_random_uuid(), 'PENDING', 'UNKNOWN', 'P0001', 'planted' FROM generate_series(1, $2) n",
    )
    .bind(campaign)
    .bind(entries)
    .execute(&world.db)
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_over_very_many_rows_is_counted_in_part_and_bound_all_the_same() -> Result<()> {
    let world = World::new().await?;
    // More than one step of the count.
    plant_many(&world, "SOME", 12_000).await?;
    plant_many(&world, "MANY", 110_000).await?;
    let desk = Desk::new(&world, "olga", "operator").await?;
    let plan = async |query: &str| -> Result<Value> {
        let (status, plan) =
            desk.change("/plans/ignore", json!({ "list": "work", "what": "filter", "query": query })).await?;
        anyhow::ensure!(status == 200, "{plan}");
        Ok(plan)
    };
    let some = plan("campaign=SOME").await?;
    assert!(some["eligible"] == 12_000 && some["at_least"] == false && some["up_to_id"] == 12_000, "{some}");
    assert_eq!(some["typed"], "SOME");
    let many = plan("status=PENDING").await?;
    let eligible = many["eligible"].as_i64().context("a number")?;
    assert!(many["at_least"] == true && (10_000..122_000).contains(&eligible), "{many}");
    assert!(many["up_to_id"] == 122_000 && many["typed"] == "all", "it is about all of them: {many}");
    assert_eq!(many["sample"].as_array().map(Vec::len), Some(10), "{many}");
    let (_, page) = desk.html(&format!("/plans/{}", many["plan_id"])).await?;
    assert!(page.contains("at least <strong>") && page.contains("Confirm: ignore at least"), "{page}");
    // What is found among very many, or not at all, keeps nobody waiting either.
    let none = plan("reason=needle").await?;
    assert!(none["eligible"] == 0, "{none}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_of_more_rows_than_one_person_may_change_is_confirmed_by_two() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let ids = [Entry::default().plant(&world).await?, Entry::default().plant(&world).await?];
    let launch = world.start_dlq_consumer().set("console.listen", console.address());
    let dlq_consumer = launch.set("console.second_person_above", 1).await?;
    let token = operator(&world, "olga", "operator").await?;
    let (other, viewer) = (operator(&world, "otto", "operator").await?, operator(&world, "vera", "viewer").await?);
    let desk = Desk { console, token, _dlq_consumer: dlq_consumer };
    let asked = |query: &str| json!({ "list": "work", "what": "filter", "query": query });

    let (_, plan) = desk.change("/plans/resolve", asked("status=PENDING")).await?;
    assert!(plan["eligible"] == 2 && plan["needs_second"] == true, "{plan}");
    let path = format!("/plans/{}", plan["plan_id"]);
    let confirm = async |token: &str| desk.change_as(token, &format!("{path}/confirm"), json!({ "reason": "r" })).await;
    let (status, first) = confirm(&desk.token).await?;
    assert!(status == 200 && first["job"].is_null(), "{first}");
    let (_, page) = desk.html(&path).await?;
    assert!(page.contains("olga has confirmed it") && page.contains("You have confirmed it"), "{page}");
    let (status, again) = confirm(&desk.token).await?;
    assert!(status == 409 && text(&again, "detail")?.contains("somebody else"), "{again}");
    assert_eq!(confirm(&viewer).await?.0, 403, "who may not do it may not confirm it either");
    let untouched: i64 = sqlx::query_scalar("SELECT count(*) FROM failed_coupon_issues WHERE status = 'PENDING'")
        .fetch_one(&world.db)
        .await?;
    assert_eq!(untouched, 2, "one person has changed nothing");

    let (status, second) = confirm(&other).await?;
    let job = second["job"]["job"].as_i64().with_context(|| format!("{status} {second}"))?;
    eventually("the job is done", SOON, async || -> Result<bool> {
        Ok(desk.json(&format!("/jobs/{job}.json")).await?.1["status"] == "DONE")
    })
    .await?;
    let by: Vec<Option<String>> =
        sqlx::query_scalar("SELECT resolved_by FROM failed_coupon_issues ORDER BY id").fetch_all(&world.db).await?;
    assert_eq!(by, vec![Some("otto".to_owned()); ids.len()]);
    let audited: Vec<(String, Value)> =
        sqlx::query_as("SELECT actor, change FROM operator_audit WHERE subject = $1 AND verb = 'plan' ORDER BY id")
            .bind(format!("plans/{}", plan["plan_id"]))
            .fetch_all(&world.db)
            .await?;
    assert!(audited.len() == 1 && audited[0].0 == "olga", "the first confirmation is in the audit: {audited:?}");
    // One row is for one person.
    Entry::default().plant(&world).await?;
    let (_, small) = desk.change("/plans/resolve", asked("status=PENDING")).await?;
    let (status, done) = desk.change(&format!("/plans/{}/confirm", small["plan_id"]), json!({ "reason": "r" })).await?;
    assert!(status == 200 && done["job"]["job"].is_i64(), "{small} {done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_of_an_admin_is_confirmed_by_no_operator() -> Result<()> {
    let world = World::new().await?;
    let letter = Letter { status: "HELD", ..Letter::default() }.plant(&world).await?;
    let desk = Desk::new(&world, "ada", "admin").await?;
    let operator = operator(&world, "olga", "operator").await?;
    let (_, plan) = desk.change("/plans/compensate", json!({ "id": format!("D{letter}") })).await?;
    let path = format!("/plans/{}/confirm", plan["plan_id"]);
    let (status, refused) = desk.change_as(&operator, &path, json!({ "reason": "mine", "typed": "all" })).await?;
    assert!(status == 403 && text(&refused, "detail")?.contains("admin"), "{plan} {refused}");
    let denied: i64 =
        sqlx::query_scalar("SELECT count(*) FROM operator_audit WHERE verb = 'denied' AND actor = 'olga'")
            .fetch_one(&world.db)
            .await?;
    assert_eq!(denied, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_is_kept_under_a_name_for_its_operator_alone() -> Result<()> {
    let world = World::new().await?;
    let desk = Desk::new(&world, "vera", "viewer").await?;
    let other = operator(&world, "otto", "viewer").await?;
    let view = json!({ "name": "disk <full>", "view": "/work?status=PENDING&cause=disk&up_to=E4" });
    assert_eq!(desk.change("/filters/save", view).await?.0, 200);
    for foreign in ["https://evil.example/work", "/plans/1", "/work?colour=red"] {
        assert_eq!(desk.change("/filters/save", json!({ "name": "x", "view": foreign })).await?.0, 400, "{foreign}");
    }
    let (_, page) = desk.json("/work.json").await?;
    assert_eq!(page["saved"]["known"][0]["view"], "/work?status=PENDING&cause=disk", "{page}");
    let (_, html) = desk.html("/work").await?;
    assert!(html.contains("disk &#60;full&#62;"), "{html}");
    let (status, _) = desk.change_as(&other, "/filters/delete", json!({ "name": "disk <full>" })).await?;
    assert_eq!(status, 404, "it is another operator's");
    assert_eq!(desk.change("/filters/delete", json!({ "name": "disk <full>" })).await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_ends_within_its_bound_and_says_where_to_go_on() -> Result<()> {
    let world = World::new().await?;
    let wanted = Entry { reason: "a needle", ..Entry::default() }.plant(&world).await?;
    sqlx::query(
        "INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason)
         SELECT 'HAY', 'm' || n, gen_random_uuid(), 'PENDING', 'UNKNOWN', 'P0001', 'hay' FROM generate_series(1, 25000) n",
    )
    .execute(&world.db)
    .await?;
    let desk = Desk::new(&world, "sue", "support").await?;
    let (_, first) = desk.json("/work.json?reason=needle").await?;
    assert!(numbers(&first).is_empty() && first["searched_to"] == "E5002", "{first}");
    assert_eq!(first["total"], json!({ "known": { "count": 0, "at_least": true } }));
    let (_, second) = desk.json(&text(&first, "older")?.replacen("/work", "/work.json", 1)).await?;
    assert!(numbers(&second) == [wanted] && second["searched_to"].is_null(), "{second}");
    // What an index finds is not searched.
    let (_, indexed) = desk.json("/work.json?campaign=PLANTED").await?;
    assert!(numbers(&indexed) == [wanted] && indexed["searched_to"].is_null(), "{indexed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_noted_on_a_row_goes_with_it() -> Result<()> {
    let world = World::new().await?;
    let old = Letter { status: "RESOLVED", days: 40, coupon: None, ..Letter::default() }.plant(&world).await?;
    let young = Letter { status: "RESOLVED", coupon: None, ..Letter::default() }.plant(&world).await?;
    for id in [old, young] {
        world
            .run("dlq-consumer", &["note", &format!("D{id}"), "the member was called", "--by", "olga"])
            .await?
            .succeeded()?;
    }
    world.run("dlq-consumer", &["purge", "--yes", "--by", "olga"]).await?.succeeded()?;
    let left: Vec<String> = sqlx::query_scalar("SELECT subject FROM row_notes").fetch_all(&world.db).await?;
    assert_eq!(left, [format!("dlq_events/{young}")]);
    Ok(())
}
