//! C: campaigns by the console: what managers do there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    console::{Console, form, operator},
    proxy::Proxy,
    wait::eventually,
    world::World,
};
use serde_json::{Value, json};

use crate::{SOON, issued_rows, write::accepted};

/// How long one look at Redis serves all who watch; nothing shows when it is over.
const LOOK_IS_SHARED: Duration = Duration::from_secs(1);

/// Asks for JSON and returns status and answer.
pub(crate) async fn json_of(console: &Console, token: &str, path: &str) -> Result<(u16, Value)> {
    let answer = console.get(path).bearer_auth(token).header("accept", "application/json").send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

/// Changes something as a program does, and returns status and answer.
async fn change(console: &Console, token: &str, path: &str, body: Value) -> Result<(u16, Value)> {
    let answer = console.post(path).bearer_auth(token).json(&body).send().await?;
    Ok((answer.status().as_u16(), answer.json().await?))
}

/// Exports, following the way to the bound. Returns the address with the bound, and the text.
async fn export(console: &Console, token: &str, path: &str) -> Result<(String, String)> {
    let first = console.get(path).bearer_auth(token).send().await?;
    let bound = first.headers().get("location").context("a way to the bound")?.to_str()?.to_owned();
    let text = console.get(&bound).bearer_auth(token).send().await?.error_for_status()?.text().await?;
    Ok((bound, text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_a_campaign_is_created_opened_closed_and_exported_twice_the_same_by_the_console() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let api = world.start_api().await?;
    let _writer = world.start_issue_consumer().await?;
    let _dlq = console.start(&world).await?;
    let (admin, viewer) = (operator(&world, "ada", "admin").await?, operator(&world, "vera", "viewer").await?);

    let new = json!({ "code": "SPRING", "total": 2, "reason": "spring sale" });
    let (status, created) = change(&console, &admin, "/campaigns", new.clone()).await?;
    assert!(status == 200 && created["campaign"]["status"] == "DRAFT", "{status} {created}");
    assert_eq!(created["campaign"]["countdown"], "not opened yet");
    assert_eq!(change(&console, &admin, "/campaigns", new).await?.0, 409, "the code is taken");
    // A browser sends a form, and is led to the page.
    let session = console.session(&admin).await?;
    let opened = form(console.post("/campaigns/SPRING/open").header("cookie", &session), &[("reason", "now")]);
    let leads_to = opened.send().await?.headers().get("location").context("a way on")?.to_str()?.to_owned();
    assert_eq!(leads_to, "/campaigns/SPRING?done=changed");
    assert_eq!(
        change(&console, &admin, "/campaigns/SPRING/set-total", json!({"total": 3, "reason": "more"})).await?.0,
        200
    );
    let asked = Instant::now();
    for member in ["alice-0001", "=1+1", "bob"] {
        accepted(&world, &api, "SPRING", member).await?;
    }
    issued_rows(&world, "SPRING", 3, SOON).await?;
    let (_, shown) = json_of(&console, &viewer, "/campaigns/SPRING").await?;
    assert_eq!(shown["campaign"]["status"], "OPEN");
    assert_eq!((&shown["remaining"], &shown["redis"]["known"]["held"]), (&json!(0), &json!(3)), "{shown}");
    eventually("the look is of the last second", SOON, async || -> Result<bool> {
        let (_, shown) = json_of(&console, &viewer, "/campaigns/SPRING").await?;
        Ok(shown["funnel"]["written"] == 3 && shown["sold_out_at"].is_string())
    })
    .await?;
    let window = json!({ "closes_at": "2099-01-01T00:00", "valid_days": 7, "reason": "longer" });
    let (status, moved) = change(&console, &admin, "/campaigns/SPRING/reschedule", window).await?;
    assert!(status == 200 && moved["campaign"]["closes_at"] == "2099-01-01T00:00:00Z", "{moved}");
    let (status, closed) = change(&console, &admin, "/campaigns/SPRING/close", json!({ "reason": "over" })).await?;
    assert!(status == 200 && closed["campaign"]["status"] == "CLOSED", "{status} {closed}");
    assert_eq!(closed["campaign"]["countdown"], "closed by hand");

    // Members are masked for who may not see them, in each form.
    let (_, listed) = json_of(&console, &viewer, "/campaigns/SPRING/issues").await?;
    let members: Vec<&str> =
        listed["issues"].as_array().into_iter().flatten().filter_map(|row| row["member_id"].as_str()).collect();
    assert_eq!(members, ["al…", "=…", "b…"]);
    let page = console.get("/campaigns/SPRING/issues").bearer_auth(&viewer).send().await?.text().await?;
    assert!(page.contains("al…") && !page.contains("alice-0001") && !page.contains("/export"), "{page}");
    assert_eq!(json_of(&console, &viewer, "/campaigns/SPRING/issues/export").await?.0, 403);

    // The bound lies ten seconds back, and a decision has to be older.
    let path = "/campaigns/SPRING/issues/export?decision=ISSUED";
    let within = Duration::from_secs(20).saturating_sub(asked.elapsed()) + SOON;
    let (bound, text) =
        eventually("all decisions are old enough", within, async || -> Result<Option<(String, String)>> {
            let (bound, text) = export(&console, &admin, path).await?;
            Ok((text.lines().count() == 4).then_some((bound, text)))
        })
        .await?;
    assert!(text.starts_with("seq,member_id,request_id,decision,reserved_at,decided_at,expires_at\n"), "{text}");
    assert!(text.contains(",'=1+1,") && text.contains(",alice-0001,"), "{text}");
    let again = console.get(&bound).bearer_auth(&admin).send().await?.text().await?;
    assert_eq!(text, again, "the same bound gives the same bytes");
    let (_, lines) = export(&console, &admin, "/campaigns/SPRING/issues/export?format=jsonl").await?;
    assert!(lines.lines().count() == 3 && lines.contains(r#""member_id":"=1+1""#), "{lines}");
    let digest: String =
        sqlx::query_scalar("SELECT encode(sha256($1), 'hex')").bind(text.as_bytes()).fetch_one(&world.db).await?;
    let exported: Vec<Value> = sqlx::query_scalar(
        "SELECT change -> 'to' FROM operator_audit
         WHERE verb = 'issues.export' AND actor = 'ada' AND change -> 'to' ->> 'sha256' = $1",
    )
    .bind(&digest)
    .fetch_all(&world.db)
    .await?;
    assert_eq!(exported.len(), 2, "each export is in the audit with its digest");
    assert!(exported[0]["rows"] == 3 && exported[0]["bytes"] == text.len(), "{exported:?}");
    let too_late = "/campaigns/SPRING/issues/export?decided_before=2099-01-01T00:00:00Z";
    assert_eq!(json_of(&console, &admin, too_late).await?.0, 400);

    let audit: Vec<(String, String, Value)> = sqlx::query_as(
        "SELECT verb, reason, provenance FROM operator_audit
         WHERE subject = 'coupons/SPRING' AND actor = 'ada' AND verb LIKE 'coupon.%' ORDER BY id",
    )
    .fetch_all(&world.db)
    .await?;
    let did: Vec<(&str, &str)> = audit.iter().map(|(verb, reason, _)| (verb.as_str(), reason.as_str())).collect();
    for wanted in [
        ("coupon.create", "spring sale"),
        ("coupon.open", "now"),
        ("coupon.set-total", "more"),
        ("coupon.set-window", "longer"),
        ("coupon.status", "over"),
    ] {
        assert!(did.contains(&wanted), "{wanted:?} in {did:?}");
    }
    assert!(audit.iter().all(|(_, _, provenance)| provenance["login"] == "TOKEN" && provenance["role"] == "admin"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_a_change_that_cannot_be_is_refused_and_changes_nothing() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("OPENED", 5).await?;
    let _dlq = console.start(&world).await?;
    let admin = operator(&world, "ada", "admin").await?;
    let before: i64 = sqlx::query_scalar("SELECT count(*) FROM operator_audit").fetch_one(&world.db).await?;
    for (path, body, status) in [
        ("/campaigns", json!({ "code": "A", "total": 1 }), 400),
        ("/campaigns", json!({ "code": "A", "total": 1, "reason": " " }), 400),
        ("/campaigns", json!({ "code": "A", "total": 1_000_000_001, "reason": "r" }), 400),
        ("/campaigns", json!({ "code": "A", "total": 1, "valid_days": 0, "reason": "r" }), 400),
        ("/campaigns", json!({ "code": "A B", "total": 1, "reason": "r" }), 400),
        ("/campaigns", json!({ "code": "A", "total": 1, "colour": "red", "reason": "r" }), 400),
        ("/campaigns", json!({ "code": "A", "total": 1, "closes_at": "2020-01-01T00:00:00Z", "reason": "r" }), 400),
        ("/campaigns/OPENED/set-total", json!({ "total": -1, "reason": "r" }), 400),
        ("/campaigns/OPENED/reschedule", json!({ "reason": "r" }), 400),
        ("/campaigns/OPENED/reschedule", json!({ "opens_at": "soon", "reason": "r" }), 400),
        ("/campaigns/NONE/open", json!({ "reason": "r" }), 404),
        ("/campaigns/%3Cb%3E/close", json!({ "reason": "r" }), 404),
        ("/campaigns/OPENED/delete", json!({ "reason": "r" }), 409),
    ] {
        let (found, problem) = change(&console, &admin, path, body.clone()).await?;
        assert_eq!(found, status, "{path} {body}: {problem}");
        ensure!(problem["detail"].is_string(), "{path} {body}: {problem}");
    }
    let after: i64 = sqlx::query_scalar("SELECT count(*) FROM operator_audit").fetch_one(&world.db).await?;
    assert_eq!(before, after);
    for path in ["/campaigns/NONE", "/campaigns/NONE/issues", "/campaigns/NONE/events"] {
        let answer = console.get(path).bearer_auth(&admin).header("accept", "text/html").send().await?;
        let (status, page) = (answer.status(), answer.text().await?);
        assert!(status == 404 && page.contains("there is no campaign NONE") && page.contains("href=\"/\""), "{page}");
    }
    assert_eq!(json_of(&console, &admin, "/campaigns?colour=red").await?.0, 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_without_redis_the_page_of_a_campaign_is_there_in_time_and_says_so() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("ALONE", 5).await?;
    let proxy = Proxy::before(&world.redis_url).await?;
    let _dlq = world.start_dlq_consumer().redis_through(&proxy).set("console.listen", console.address()).await?;
    let token = operator(&world, "vera", "viewer").await?;
    for stalled in [false, true] {
        if stalled {
            proxy.stall().await?;
        } else {
            proxy.cut().await?;
        }
        let asked = Instant::now();
        let answer = console.get("/campaigns/ALONE").bearer_auth(&token).header("accept", "text/html").send().await?;
        let (status, page) = (answer.status(), answer.text().await?);
        let took = asked.elapsed();
        assert!(status == 200 && page.contains("Redis does not answer"), "{status} {page}");
        assert!(page.contains("<strong>5</strong> remaining, by the rows"), "{page}");
        assert!(took < Duration::from_millis(2_500), "{took:?}");
        tokio::time::sleep(LOOK_IS_SHARED).await;
    }
    let asked = Instant::now();
    assert_eq!(json_of(&console, &token, "/campaigns").await?.0, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "a list never asks Redis");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_what_is_refused_a_second_stands_on_the_page_of_the_campaign() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("RUSH", 1).await?;
    let apis = [world.start_api().await?, world.start_api().await?];
    let _dlq = console.start(&world).await?;
    let token = operator(&world, "vera", "viewer").await?;
    accepted(&world, &apis[0], "RUSH", "one").await?;
    let mut asked = 0;
    // A process counts a campaign from when it has seen it open.
    eventually("both processes count what they refuse", SOON * 2, async || -> Result<bool> {
        for api in &apis {
            ensure!(world.member(api, "two")?.ask("RUSH").await.is_refused_as(409, "SOLD_OUT"));
            asked += 1;
        }
        let (_, shown) = json_of(&console, &token, "/campaigns/RUSH").await?;
        let told = shown["redis"]["known"]["refused"]["SOLD_OUT"].as_i64().unwrap_or(0);
        ensure!(told <= asked, "{told} of {asked}: {shown}");
        Ok(told >= 3 && shown["refused_per_second"].as_f64().is_some_and(|rate| rate > 0.0))
    })
    .await?;
    let page = console.get("/campaigns/RUSH").bearer_auth(&token).header("accept", "text/html").send().await?;
    let page = page.text().await?;
    assert!(page.contains("</strong> refused a second") && page.contains(" SOLD_OUT"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_the_figures_of_a_campaign_come_once_a_second() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("WATCHED", 5).await?;
    let _dlq = console.start(&world).await?;
    let token = operator(&world, "vera", "viewer").await?;
    for (path, field) in [("/campaigns/WATCHED/events", "campaign"), ("/events/campaigns", "campaigns")] {
        let mut answer = console.get(path).bearer_auth(&token).header("accept", "text/event-stream").send().await?;
        assert_eq!(
            answer.headers().get("content-type").map(reqwest::header::HeaderValue::as_bytes),
            Some(&b"text/event-stream"[..])
        );
        let (mut text, begun) = (String::new(), Instant::now());
        while text.matches("data: ").count() < 3 {
            text += std::str::from_utf8(&answer.chunk().await?.context("the events go on")?)?;
        }
        assert!(begun.elapsed() > Duration::from_millis(1_500), "{:?}", begun.elapsed());
        let first = text.lines().find_map(|line| line.strip_prefix("data: ")).context("an event")?;
        let figures: Value = serde_json::from_str(first)?;
        assert!(figures[field].to_string().contains("WATCHED"), "{figures}");
    }
    Ok(())
}
