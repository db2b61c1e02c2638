//! S: what operators write reaches no viewer: each text that they can type, on each page, as HTML, as JSON, as a file and in event
//! streams.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use coupon_e2e::{
    console::{Console, operator, verbs},
    webhook::Webhook,
    world::World,
};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    console_work::{Desk, text},
    rows::{Entry, Letter},
};

/// The word that no viewer may see, and the member that it begins with.
const WORD: &str = "quetzal";
const MEMBER: &str = "quetzal-4711";

/// Changes something, which has to succeed.
async fn done(desk: &Desk, path: &str, body: Value) -> Result<Value> {
    let (status, answer) = desk.change(path, body).await?;
    ensure!((200..300).contains(&status), "{path}: {status} {answer}");
    Ok(answer)
}

/// Plans a change of all that the filter matches, and confirms it.
async fn planned(desk: &Desk, verb: &str, query: &str) -> Result<()> {
    let asked = json!({ "list": "work", "what": "filter", "query": query });
    let plan = done(desk, &format!("/plans/{verb}"), asked).await?;
    done(desk, &format!("/plans/{}/confirm", plan["plan_id"]), json!({ "reason": WORD })).await?;
    Ok(())
}

/// Types the word wherever the console takes words: entry 1, dead letter 1, replay 1, jobs 1 and 2, the campaign 1.
async fn type_everywhere(desk: &Desk) -> Result<()> {
    done(desk, "/work/1/note", json!({ "note": WORD })).await?;
    done(desk, "/work/1/settle", json!({ "verb": "resolve", "reason": WORD })).await?;
    done(desk, "/dead-letters/1/note", json!({ "note": WORD })).await?;
    done(desk, "/dead-letters/1/settle", json!({ "verb": "ignore", "reason": WORD })).await?;
    planned(desk, "replay", &format!("member={MEMBER}&cause={WORD}&reason={WORD}")).await?;
    planned(desk, "ignore", &format!("member={MEMBER}&cause={WORD}&reason={WORD}")).await?;
    done(desk, "/reconcile/check", json!({ "codes": "1", "reason": WORD })).await?;
    done(desk, "/jobs/1/cancel", json!({ "reason": WORD })).await?;
    done(desk, "/operators/add", json!({ "name": "nora", "role": "viewer", "days": 1, "reason": WORD })).await?;
    done(desk, "/operators/nora/revoke", json!({ "reason": WORD })).await?;
    done(desk, "/alarms/test", json!({ "reason": WORD })).await?;
    done(desk, "/filters/save", json!({ "name": WORD, "view": format!("/work?cause={WORD}") })).await?;
    done(desk, "/campaigns", json!({ "code": "DRAFT", "total": 1, "reason": WORD })).await?;
    done(desk, "/campaigns/DRAFT/delete", json!({ "reason": WORD })).await?;
    done(desk, "/campaigns/1/set-total", json!({ "total": 6, "reason": WORD })).await?;
    done(desk, "/campaigns/1/reschedule", json!({ "valid_days": 7, "reason": WORD })).await?;
    done(desk, "/campaigns/1/set-admission", json!({ "admission": "required", "reason": WORD })).await?;
    done(desk, "/campaigns/1/close", json!({ "reason": WORD })).await?;
    Ok(())
}

/// What an address answers; of a stream of events, the first one.
async fn read(console: &Console, token: &str, path: &str, accept: &str) -> Result<String> {
    let mut path = path.to_owned();
    loop {
        let mut answer = console.get(&path).bearer_auth(token).header("accept", accept).send().await?;
        if answer.status() == 303 {
            path = answer.headers().get("location").context("a way on")?.to_str()?.to_owned();
            continue;
        }
        ensure!(answer.status() == 200, "{path}: {} {}", answer.status(), answer.text().await?);
        let kind = answer.headers().get("content-type").context("a kind")?.to_str()?.to_owned();
        if !kind.starts_with("text/event-stream") {
            return Ok(answer.text().await?);
        }
        let mut event = String::new();
        while !event.contains("\n\n") {
            let Some(part) = answer.chunk().await? else { bail!("{path} ends after {event:?}") };
            event += &String::from_utf8_lossy(&part);
        }
        return Ok(event);
    }
}

/// Every address that a viewer may read, with the numbers of what was planted.
async fn pages(world: &World, request: Uuid) -> Result<Vec<String>> {
    let readable = verbs(world).await?.into_iter().filter(|verb| verb.method == Method::GET && verb.role == 0);
    let mut pages: Vec<String> = readable
        .map(|verb| match verb.path.as_str() {
            "/requests/1" => format!("/requests/{request}"),
            "/find" => "/find?q=E1".to_owned(),
            path => path.to_owned(),
        })
        .collect();
    pages.extend(["/jobs/2".to_owned(), "/audit?format=csv".to_owned()]);
    Ok(pages)
}

/// Looks at each page as a viewer, who must not see the word. Returns those on which somebody of support sees it.
async fn swept(desk: &Desk, pages: &[String], (viewer, support): (&str, &str)) -> Result<BTreeSet<String>> {
    let mut shown = BTreeSet::new();
    for path in pages {
        for accept in ["text/html", "application/json"] {
            let seen = read(&desk.console, viewer, path, accept).await?;
            ensure!(!seen.contains(WORD), "a viewer sees it at {path} as {accept}: {seen}");
            if read(&desk.console, support, path, accept).await?.contains(WORD) {
                shown.insert(format!("{path} {accept}"));
            }
        }
    }
    Ok(shown)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_sees_no_word_that_operators_type_on_any_page_file_or_stream() -> Result<()> {
    let (world, webhook, console) = (World::new().await?, Webhook::start().await?, Console::new()?);
    world.open_campaign("1", 5).await?;
    for _ in 0..2 {
        let reason = "quetzal-4711 is unknown";
        Entry { coupon: "1", member: MEMBER, reason, ..Entry::default() }.plant(&world).await?;
    }
    Letter::default().plant(&world).await?;
    // What Redis has where an id should be.
    sqlx::query(
        "INSERT INTO reconciliations (coupon_code, started_by, started_at, finished_at, applied, marks, issued_rows, in_flight, drift)
         VALUES ('1', 'olga', now(), now(), false, 3, 2, 0, jsonb_build_object('UNREADABLE_ENTRY',
                 jsonb_build_object('found', 1, 'repaired', 0, 'examples', jsonb_build_array($1::text))))",
    )
    .bind(MEMBER)
    .execute(&world.db)
    .await?;
    let request = "SELECT request_id FROM failed_coupon_issues WHERE id = 1";
    let request = sqlx::query_scalar::<_, Uuid>(request).fetch_one(&world.db).await?;
    // Nobody works on jobs and nobody compares, so that all stays as it was left.
    let launch = world.start_dlq_consumer().set("console.listen", console.address());
    let launch = launch.set("jobs.workers", 0).set("reconcile.every_ms", 0);
    let dlq_consumer = launch.env("DLQ_CONSUMER__ALARMS__WEBHOOK_URL", webhook.url()).await?;
    console.answers().await?;
    let desk = Desk { console, token: operator(&world, "ada", "admin").await?, _dlq_consumer: dlq_consumer };
    let (viewer, support) = (operator(&world, "vera", "viewer").await?, operator(&world, "sue", "support").await?);
    let tokens = (viewer.as_str(), support.as_str());

    type_everywhere(&desk).await?;
    let replay = ["/replays".to_owned(), "/replays/1".to_owned()];
    for verb in ["pause", "resume", "cancel"] {
        done(&desk, &format!("/replays/1/{verb}"), json!({ "reason": WORD })).await?;
        swept(&desk, &replay, tokens).await?;
        let shown = read(&desk.console, &support, "/replays/1", "application/json").await?;
        assert_eq!(text(&serde_json::from_str::<Value>(&shown)?, "note")?, WORD, "after {verb}");
    }
    let shown = swept(&desk, &pages(&world, request).await?, tokens).await?;

    // Else nothing was typed where it is looked for.
    let rows = ["/work", "/work/1", "/dead-letters/1", "/replays", "/replays/1", "/jobs", "/jobs/1", "/jobs/2"];
    let others = ["/audit", "/audit?format=csv", "/reconcile", "/reconcile/1", "/campaigns/1/events"];
    for path in rows.iter().chain(&others) {
        for accept in ["text/html", "application/json"] {
            assert!(shown.contains(&format!("{path} {accept}")), "support does not see it at {path} as {accept}");
        }
    }
    assert!(shown.contains("/campaigns/1 application/json"), "{shown:?}");
    let audit: Value = serde_json::from_str(&read(&desk.console, &support, "/audit", "application/json").await?)?;
    let named = audit["rows"].as_array().into_iter().flatten().filter(|row| row.to_string().contains(WORD));
    let named: BTreeSet<&str> = named.filter_map(|row| row["verb"].as_str()).collect();
    let typed = [
        "alarms.test",
        "coupon.create",
        "coupon.delete",
        "coupon.set-admission",
        "coupon.set-total",
        "coupon.set-window",
        "coupon.status",
        "ignore",
        "job",
        "operator.add",
        "operator.revoke",
        "reconcile",
        "replay",
        "resolve",
    ];
    assert_eq!(named, BTreeSet::from(typed));
    Ok(())
}
