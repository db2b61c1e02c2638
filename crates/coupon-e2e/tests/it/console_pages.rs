//! The console's overview, audit, operators, alarms, health and document, as browsers and programs ask for them.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    console::{Console, operator, verbs},
    wait::eventually,
    webhook::Webhook,
    world::World,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    SOON,
    rows::{Entry, Letter},
};

/// A console with the token of an operator of this role.
async fn console_of(world: &World, role: &str) -> Result<(coupon_e2e::process::Process, Console, String)> {
    let console = Console::new()?;
    let process = console.start(world).await?;
    console.answers().await?;
    let token = operator(world, role, role).await?;
    Ok((process, console, token))
}

async fn read(console: &Console, token: &str, path: &str) -> Result<Value> {
    let answer = console.get(path).bearer_auth(token).send().await?;
    ensure!(answer.status() == 200, "{path}: {}", answer.text().await?);
    Ok(answer.json().await?)
}

async fn page(console: &Console, token: &str, path: &str) -> Result<String> {
    let answer = console.get(path).bearer_auth(token).header("accept", "text/html").send().await?;
    ensure!(answer.status() == 200, "{path}: {}", answer.text().await?);
    Ok(answer.text().await?)
}

async fn change(console: &Console, token: &str, path: &str, body: &Value) -> Result<Response> {
    Ok(console.ask(Method::POST, path).bearer_auth(token).json(body).send().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_overview_shows_what_waits_why_and_what_runs() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("PLANTED", 5).await?;
    Entry::default().plant(&world).await?;
    for status in ["HELD", "HELD", "PARKED"] {
        Letter { status, text: "SYSTEM XX000 <b>broken</b>", ..Letter::default() }.plant(&world).await?;
    }
    sqlx::query("INSERT INTO alarm_causes (alarm_key, announced_at, announced_count, all_clear_due) VALUES ('X', now(), 3, true)")
        .execute(&world.db)
        .await?;
    let (_dlq, console, token) = console_of(&world, "viewer").await?;
    let home = read(&console, &token, "/index.json").await?;
    let waiting = &home["waiting"]["known"];
    assert_eq!(
        (&waiting["pending"], &waiting["held"], &waiting["parked"]),
        (&json!(1), &json!(2), &json!(1)),
        "{home}"
    );
    let cause = &home["causes"]["known"][0];
    assert_eq!((&cause["count"], &cause["undecided"]), (&json!(3), &json!(3)), "{home}");
    let minutes = cause["by_minute"].as_array().context("minutes")?;
    assert_eq!((minutes.len(), &minutes[59]), (60, &json!(3)));
    assert_eq!(home["campaigns"]["known"][0]["coupon_code"], "PLANTED");
    assert_eq!(home["alarms"]["known"][0]["cause"], "X");
    assert_eq!(home["budget"]["known"]["decided"], 0);
    let html = page(&console, &token, "/").await?;
    assert!(html.contains("&#60;b&#62;broken") && !html.contains("<b>broken"), "{html}");

    for (typed, leads_to) in [("E1", "/work/E1"), ("d7", "/dead-letters/D7"), ("bob&what=member", "/members/bob")] {
        let answer = console.get(&format!("/find?q={typed}")).bearer_auth(&token).header("accept", "text/html");
        let answer = answer.send().await?;
        assert_eq!(answer.headers().get("location").context("a way")?, leads_to);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_has_not_changed_is_not_sent_again() -> Result<()> {
    let world = World::new().await?;
    let (_dlq, console, token) = console_of(&world, "viewer").await?;
    let first = console.get("/audit").bearer_auth(&token).header("accept", "text/html").send().await?;
    let tag = first.headers().get("etag").context("a tag")?.clone();
    let again =
        || console.get("/audit").bearer_auth(&token).header("accept", "text/html").header("if-none-match", &tag);
    let answer = again().send().await?;
    assert_eq!(answer.status(), 304);
    assert!(answer.headers().contains_key("content-security-policy"));
    assert_eq!(answer.text().await?, "");
    operator(&world, "another", "viewer").await?;
    assert_eq!(again().send().await?.status(), 200, "the audit has a row more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_is_filtered_paged_and_exported_without_formulas_and_members_are_masked() -> Result<()> {
    let world = World::new().await?;
    sqlx::query(
        "INSERT INTO operator_audit (at, actor, verb, subject, change, reason, provenance)
         SELECT timestamptz '2026-01-01' + n * interval '1 s', 'mallory', 'replay', 'replay_jobs/' || n,
                '{\"filter\": {\"member\": \"alice-0001\"}}', '=1+1', '{\"login\": \"COMMAND_LINE\"}'
         FROM generate_series(1, 1500) n",
    )
    .execute(&world.db)
    .await?;
    let (_dlq, console, viewer) = console_of(&world, "viewer").await?;
    let support = operator(&world, "support", "support").await?;
    let first = read(&console, &viewer, "/audit.json?actor=mallory&since=2026-01-01&until=2026-01-02").await?;
    let rows = first["rows"].as_array().context("rows")?;
    assert_eq!((rows.len(), &rows[0]["subject"]), (50, &json!("replay_jobs/1500")));
    assert_eq!((&rows[0]["is_verified"], &rows[0]["login"]), (&json!(false), &json!("COMMAND_LINE")));
    assert_eq!(rows[0]["change"]["filter"]["member"], "al…");
    let next = format!("/audit.json?actor=mallory&before={}", first["next_before"]);
    assert_eq!(read(&console, &viewer, &next).await?["rows"][0]["subject"], "replay_jobs/1450");
    let csv = page(&console, &support, "/audit?actor=mallory&format=csv").await?;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0].split(',').next()), (1501, Some("id")));
    assert!(lines[1].contains("replay_jobs/1500") && lines[1].contains("alice-0001"), "{}", lines[1]);
    assert!(lines[1].ends_with(",'=1+1"), "{}", lines[1]);
    for wrong in ["colour=red", "since=yesterday", "before=x", "format=pdf"] {
        let answer = console.get(&format!("/audit.json?{wrong}")).bearer_auth(&viewer).send().await?;
        assert_eq!((answer.status().as_u16(), &answer.json::<Value>().await?["code"]), (400, &json!("BAD_INPUT")));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_adds_an_operator_whose_token_is_shown_once_and_revokes_it() -> Result<()> {
    let world = World::new().await?;
    let (dlq, console, admin) = console_of(&world, "admin").await?;
    let new = json!({ "name": "nora", "role": "operator", "days": 30, "reason": "night shift" });
    let added = change(&console, &admin, "/operators/add", &new).await?;
    assert_eq!(added.status(), 201);
    let token = added.json::<Value>().await?["token"].as_str().context("a token")?.to_owned();
    assert_eq!(read(&console, &token, "/health.json").await?["report"]["ready"], true);
    assert_eq!(change(&console, &admin, "/operators/add", &new).await?.status(), 409, "a name is given out once");
    for wrong in [json!({ "days": 0 }), json!({ "days": 400 }), json!({ "name": "a b" }), json!({ "reason": " " })] {
        let mut form = new.clone();
        form.as_object_mut().context("an object")?.extend(wrong.as_object().context("an object")?.clone());
        if form["name"] == "nora" {
            form["name"] = json!("other");
        }
        assert_eq!(change(&console, &admin, "/operators/add", &form).await?.status(), 400, "{form}");
    }
    let html = page(&console, &admin, "/operators").await?;
    assert!(html.contains("nora") && !html.contains(&token));
    let revoked = change(&console, &admin, "/operators/nora/revoke", &json!({ "reason": "shift is over" })).await?;
    assert_eq!(revoked.status(), 200);
    assert_eq!(console.get("/health.json").bearer_auth(&token).send().await?.status(), 401);
    let rows: Vec<(String, String, Value)> = sqlx::query_as(
        "SELECT verb, reason, provenance FROM operator_audit WHERE subject = 'operators/nora' AND actor = 'admin' ORDER BY id",
    )
    .fetch_all(&world.db)
    .await?;
    let verbs: Vec<(&str, &str)> = rows.iter().map(|(verb, reason, _)| (verb.as_str(), reason.as_str())).collect();
    assert_eq!(verbs, [("operator.add", "night shift"), ("operator.revoke", "shift is over")]);
    assert_eq!(rows[0].2["role"], "admin");
    assert!(!dlq.log_contains(&token), "a token reaches no log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarms_are_tested_by_a_button_and_lead_to_the_console() -> Result<()> {
    let (world, webhook, console) = (World::new().await?, Webhook::start().await?, Console::new()?);
    let launch = world.start_dlq_consumer().set("console.listen", console.address());
    let launch = launch.set("console.public_url", "https://console.test/coupons").set("alarms.digest_ms", 200);
    let _dlq = launch.env("DLQ_CONSUMER__ALARMS__WEBHOOK_URL", webhook.url()).await?;
    console.answers().await?;
    let token = operator(&world, "olga", "operator").await?;
    let tested = change(&console, &token, "/alarms/test", &json!({ "reason": "before the rush" })).await?;
    let tested: Value = tested.json().await?;
    assert_eq!(
        (&tested["channels"][0]["channel"], &tested["channels"][0]["took_it"]),
        (&json!("webhook"), &json!(true))
    );
    let test = &webhook.takes(1, SOON).await?[0].body;
    assert!(test["kind"] == "TEST" && test["headline"].to_string().contains("olga"), "{test}");
    assert_eq!(test["links"]["console"], "https://console.test/coupons/");
    let audited: String =
        sqlx::query_scalar("SELECT reason FROM operator_audit WHERE verb = 'alarms.test'").fetch_one(&world.db).await?;
    assert_eq!(audited, "before the rush");

    Letter { told: false, ..Letter::default() }.plant(&world).await?;
    let alarm = &webhook.takes(2, SOON).await?[1].body;
    assert_eq!(alarm["links"]["console"], "https://console.test/coupons/causes");
    let alarms = read(&console, &token, "/alarms.json").await?;
    assert_eq!(alarms["channels"]["known"][0]["is_set"], true);
    assert_eq!(alarms["without_channels"], Value::Null);
    eventually("it is open", SOON, async || -> Result<bool> {
        Ok(read(&console, &token, "/alarms.json").await?["open"]["known"]
            .as_array()
            .is_some_and(|open| open.len() == 1))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drift_is_shown_by_kind_with_its_meaning_and_a_dry_run_is_a_job() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("DRIFTS", 5).await?;
    sqlx::query(
        "INSERT INTO reconciliations (coupon_code, started_by, started_at, finished_at, applied, marks, issued_rows, in_flight, drift)
         VALUES ('DRIFTS', 'olga', now(), now(), false, 3, 2, 0,
             '{\"ORPHAN\": {\"found\": 2, \"repaired\": 1, \"examples\": [\"id-1\"]},
               \"UNREADABLE_ENTRY\": {\"found\": 1, \"repaired\": 0, \"examples\": [\"alice\"]}}')",
    )
    .execute(&world.db)
    .await?;
    let (_dlq, console, viewer) = console_of(&world, "viewer").await?;
    let shown = read(&console, &viewer, "/reconcile.json").await?;
    let orphan = &shown["drift"][0];
    assert_eq!((&orphan["kind"], &orphan["found"], &orphan["sample"]), (&json!("ORPHAN"), &json!(2), &json!(["id-1"])));
    assert!(orphan["meaning"].to_string().contains("its event was lost"), "{shown}");
    assert_eq!(shown["drift"][1]["sample"], json!([]), "what may name a member is not for viewers");
    assert_eq!((&shown["runs"][0]["found"], &shown["runs"][0]["left"]), (&json!(3), &json!(2)));
    let one = format!("/reconcile/{}.json", shown["runs"][0]["id"]);
    assert_eq!(read(&console, &viewer, &one).await?["run"]["coupon_code"], "DRIFTS");
    let gone = console.get("/reconcile/99999.json").bearer_auth(&viewer).send().await?;
    assert_eq!(gone.status(), 404);

    let olga = operator(&world, "olga", "operator").await?;
    let asked = json!({ "codes": "DRIFTS", "reason": "after the alarm" });
    let started = change(&console, &olga, "/reconcile/check", &asked).await?;
    assert_eq!(started.status(), 200);
    let path = started.json::<Value>().await?["path"].as_str().context("a path")?.to_owned();
    assert!(path.starts_with("/jobs/"), "{path}");
    eventually("the comparison is in the history", SOON, async || -> Result<bool> {
        let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM reconciliations WHERE started_by = 'olga'")
            .fetch_one(&world.db)
            .await?;
        Ok(runs == 2)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_names_what_each_page_answers_and_doctor_finds_what_is_wrong() -> Result<()> {
    let world = World::new().await?;
    let (_dlq, console, admin) = console_of(&world, "admin").await?;
    let document = read(&console, &admin, "/openapi.json").await?;
    assert_eq!(document["openapi"], "3.1.0");
    let mut pages = 0;
    for verb in verbs(&world).await?.iter().filter(|verb| verb.method == Method::GET) {
        let operation = &document["paths"][verb.path.as_str()]["get"];
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        let Some(wanted) = schema["required"].as_array() else { continue };
        let needs_input =
            operation["parameters"].as_array().is_some_and(|all| all.iter().any(|one| one["required"] == true));
        if needs_input {
            continue;
        }
        let path = if verb.path == "/" { "/index".to_owned() } else { verb.path.clone() };
        let answer = read(&console, &admin, &format!("{path}.json")).await?;
        for field in wanted.iter().filter_map(Value::as_str) {
            assert!(answer.get(field).is_some(), "{} has no {field}: {answer}", verb.name);
        }
        pages += 1;
    }
    assert!(pages >= 8, "{pages}");
    let find = &document["paths"]["/find"]["get"]["parameters"];
    let required: Vec<&Value> =
        find.as_array().context("parameters")?.iter().filter(|one| one["required"] == true).collect();
    assert!(required.len() == 1 && required[0]["name"] == "q", "{find}");
    assert_eq!(read(&console, &admin, "/find.json?q=E1").await?["path"], "/work/E1");

    let doctor = read(&console, &admin, "/health/doctor.json").await?;
    let verdict = |name: &str| {
        let findings = doctor["findings"].as_array()?;
        Some(findings.iter().find(|finding| finding["name"] == name)?["verdict"].as_str()?.to_owned())
    };
    assert_eq!(verdict("redis").as_deref(), Some("ok"), "{doctor}");
    assert_eq!(verdict("alarms").as_deref(), Some("warn"), "{doctor}");
    let health = read(&console, &admin, "/health.json").await?;
    assert!(health["postgresql"]["known"].is_string() && health["redis"]["known"].is_string(), "{health}");
    let brokers = &health["kafka"]["known"]["brokers"];
    assert!(health["kafka"]["known"]["id"].is_string() && brokers[0]["address"].is_string(), "{health}");
    assert!(health["breakers"][0]["dependency"] == "postgresql" && health["breakers"][0]["open"].is_null(), "{health}");
    assert!(
        health["settings"].as_str().is_some_and(|text| text.contains("[console]") && !text.contains("postgresql://"))
    );
    Ok(())
}
