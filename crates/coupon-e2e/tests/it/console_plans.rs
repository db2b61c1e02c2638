//! S: plans, kept views and bounded searches of the console's work list, through HTTP as a browser and a program ask them.

use anyhow::{Context, Result};
use coupon_e2e::{console::operator, wait::eventually, world::World};
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
    let desk = Desk::new(&world, "vera", "viewer").await?;
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
