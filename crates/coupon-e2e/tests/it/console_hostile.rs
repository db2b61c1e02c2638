//! S: what a hostile look at the console has found: each test is an attack that once worked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    console::{Console, form, operator},
    wait::eventually,
    world::World,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    SOON,
    console_work::{Desk, numbers, text},
    rows::{Entry, Letter},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_a_login_nor_a_page_leads_to_another_site() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let _dlq = console.start(&world).await?;
    let token = operator(&world, "vera", "viewer").await?;
    // Browsers drop tabs from an address, and read `\` as `/`.
    for next in ["%2F%09%2Fevil.test", "%2F%5Cevil.test", "%2F%2Fevil.test", "https%3A%2F%2Fevil.test"] {
        let answer = form(console.post("/login"), &[("token", token.as_str()), ("next", next)]).send().await?;
        let leads_to = answer.headers().get("location").context("a way on")?.to_str()?;
        assert_eq!((answer.status().as_u16(), leads_to), (303, "/"), "{next}");
    }
    let page = console.get("//evil.test/x").bearer_auth(&token).header("accept", "text/html").send().await?;
    assert_eq!(page.status(), 404);
    let page = page.text().await?;
    assert!(page.contains("href=\"/evil.test/x.json\"") && !page.contains("\"//"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_of_a_campaign_is_kept_whatever_its_code_is() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.create_campaign("assets", 5, &[]).await?;
    let _dlq = console.start(&world).await?;
    let token = operator(&world, "sue", "support").await?;
    for path in ["/campaigns/assets/issues", "/campaigns/assets/issues.json"] {
        let answer = console.get(path).bearer_auth(&token).send().await?;
        let kept = answer.headers().get("cache-control").map(|value| value.to_str().unwrap_or_default());
        assert_eq!((answer.status().as_u16(), kept), (200, Some("no-store")), "{path}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_keeps_its_connection_for_seconds() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let _dlq = console.start(&world).await?;
    console.answers().await?;
    let mut stream = TcpStream::connect(console.address()).await?;
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: 100\r\n\r\ntoken=",
        host = console.address()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
    ended.context("the connection is kept")??;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_events_outlives_its_session_for_half_a_minute_at_most() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let _dlq = console.start(&world).await?;
    let session = console.session(&operator(&world, "vera", "viewer").await?).await?;
    let mut stream = TcpStream::connect(console.address()).await?;
    let host = console.address();
    let head =
        format!("GET /events/campaigns HTTP/1.1\r\nHost: {host}\r\nCookie: {session}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut begin = [0; 15];
    stream.read_exact(&mut begin).await?;
    assert_eq!(&begin, b"HTTP/1.1 200 OK");
    console.post("/logout").header("cookie", &session).send().await?.error_for_status()?;
    let mut events = Vec::new();
    let ended = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut events)).await;
    ended.context("the stream goes on")??;
    assert!(String::from_utf8_lossy(&events).contains("retry: 1000"), "the browser asks again soon");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_page_masks_no_other_one_shows() -> Result<()> {
    let world = World::new().await?;
    let settled = Entry { member: "zenobia-4711", ..Entry::default() }.plant(&world).await?;
    let planned = Entry { member: "zenobia-4711", ..Entry::default() }.plant(&world).await?;
    let letter = Letter { text: "zenobia-4711", ..Letter::default() }.plant(&world).await?;
    // One that cannot be read: no column knows its member, and what is wrong with it quotes what stands there.
    let unreadable =
        "UPDATE dlq_events SET member_id = NULL, cause = 'MALFORMED UNDECODABLE', origin_topic = 'coupon-issued'";
    sqlx::query(unreadable).execute(&world.db).await?;
    let desk = Desk::new(&world, "olga", "operator").await?;
    let (viewer, support) = (operator(&world, "vera", "viewer").await?, operator(&world, "sue", "support").await?);
    let why = "zenobia-4711 has got it by hand";
    let settle = json!({ "verb": "resolve", "reason": why });
    assert_eq!(desk.change(&format!("/work/E{settled}/settle"), settle).await?.0, 200);
    let (_, plan) = desk.change("/plans/ignore", json!({ "id": [format!("E{planned}")] })).await?;
    let confirm = format!("/plans/{}/confirm", plan["plan_id"]);
    let (status, job) = desk.change(&confirm, json!({ "reason": why })).await?;
    ensure!(status == 200, "{job}");
    let progress = json!({ "reports": [
        { "drift": { "UNREADABLE_HOLDER": { "found": 1, "repaired": 0, "examples": ["zenobia-4711"] } } },
    ] });
    let report = "INSERT INTO jobs (kind, status, parameters, progress, reason, asked_by, created_at, updated_at)
                  SELECT 'RECONCILE', 'DONE', '{\"verb\": \"reconcile\", \"codes\": [], \"apply\": false}', $1, '',
                         asked_by, now(), now() FROM jobs LIMIT 1";
    sqlx::query(report).bind(progress).execute(&world.db).await?;
    let pages = [
        ("/audit", "/audit.json"),
        ("/audit?format=csv", "/audit.json"),
        ("/jobs/2", "/jobs/2.json"),
        ("/jobs", "/jobs.json"),
        ("/dead-letters?up_to=D9", "/dead-letters.json"),
        (&*format!("/dead-letters/D{letter}"), &*format!("/dead-letters/D{letter}.json")),
    ];
    for path in pages.iter().flat_map(|(html, json)| [*html, *json]) {
        let ask = async |token: &str| -> Result<String> {
            let answer = desk.console.get(path).bearer_auth(token).send().await?;
            ensure!(answer.status() == 200, "{path}: {}", answer.text().await?);
            Ok(answer.text().await?)
        };
        let (masked, whole) = (ask(&viewer).await?, ask(&support).await?);
        assert!(!masked.contains("zenobia"), "{path}: {masked}");
        let is_shown = whole.contains("zenobia-4711") || path.starts_with("/dead-letters?");
        assert!(is_shown, "{path}: {whole}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_see_members_may_not_filter_by_what_names_them() -> Result<()> {
    let world = World::new().await?;
    let entry = Entry { member: "zenobia-4711", reason: "zenobia-4711 is unknown", ..Entry::default() };
    let letter = Letter { text: "zenobia-4711", ..Letter::default() };
    let (entry, letter) = (entry.plant(&world).await?, letter.plant(&world).await?);
    sqlx::query("UPDATE dlq_events SET cause = 'UNKNOWN P0001 planted'").execute(&world.db).await?;
    let desk = Desk::new(&world, "olga", "operator").await?;
    let (viewer, support) = (operator(&world, "vera", "viewer").await?, operator(&world, "sue", "support").await?);
    let ask = async |token: &str, path: &str| -> Result<(u16, Value)> {
        let answer = desk.console.get(path).bearer_auth(token).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    for (list, id) in [("/work.json", entry), ("/dead-letters.json", letter)] {
        for filter in ["member=zenobia-4711", "reason=zenobia"] {
            let path = format!("{list}?{filter}");
            let (status, problem) = ask(&viewer, &path).await?;
            assert!(status == 403 && text(&problem, "detail")?.contains("needs the role support"), "{path}: {problem}");
            assert_eq!(numbers(&ask(&support, &path).await?.1), [id], "{path}");
        }
        // The cause is shown to everybody, the reason is not.
        let path = format!("{list}?cause=zenobia");
        let (_, masked) = ask(&viewer, &path).await?;
        assert!(numbers(&masked).is_empty() && masked["total"]["known"]["count"] == 0, "{masked}");
        assert_eq!(numbers(&ask(&support, &path).await?.1), [id], "{path}");
        assert_eq!(numbers(&ask(&viewer, &format!("{list}?cause=planted")).await?.1), [id], "{path}");
    }
    let form = desk.console.get("/work?up_to=E9").bearer_auth(&viewer).header("accept", "text/html").send().await?;
    let form = form.text().await?;
    assert!(form.contains("name=\"cause\"") && !form.contains("name=\"reason\"") && !form.contains("name=\"member\""));
    // Nor does a replay tell what it was filtered by, in its text or in a link.
    let asked = json!({ "list": "work", "what": "filter", "query": "member=zenobia-4711&reason=zenobia" });
    let (_, plan) = desk.change("/plans/replay", asked).await?;
    let (status, job) = desk.change(&format!("/plans/{}/confirm", plan["plan_id"]), json!({ "reason": "r" })).await?;
    ensure!(status == 200, "{plan} {job}");
    for path in ["/replays/1", "/replays/1.json"] {
        let answer = desk.console.get(path).bearer_auth(&viewer).header("accept", "text/html").send().await?;
        let page = answer.error_for_status()?.text().await?;
        assert!(!page.contains("zenobia"), "{path}: {page}");
    }
    let denied = "SELECT count(*) FROM operator_audit WHERE verb = 'denied' AND actor = 'vera'";
    assert_eq!(sqlx::query_scalar::<_, i64>(denied).fetch_one(&world.db).await?, 4);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_who_adds_the_second_person_confirms_nothing_alone() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    for _ in 0..2 {
        Entry::default().plant(&world).await?;
    }
    let launch = world.start_dlq_consumer().set("console.listen", console.address());
    let dlq_consumer = launch.set("console.second_person_above", 1).await?;
    let token = operator(&world, "ada", "admin").await?;
    let desk = Desk { console, token, _dlq_consumer: dlq_consumer };
    let asked = json!({ "list": "work", "what": "filter", "query": "status=PENDING" });
    let (_, plan) = desk.change("/plans/ignore", asked).await?;
    let path = format!("/plans/{}/confirm", plan["plan_id"]);
    let (status, first) = desk.change(&path, json!({ "reason": "r" })).await?;
    ensure!(status == 200 && first["awaits_second"] == true, "{first}");
    let sock = json!({ "name": "sock", "role": "admin", "days": 1, "reason": "r" });
    let (status, added) = desk.change("/operators/add", sock).await?;
    ensure!(status == 201, "{added}");
    let (status, refused) = desk.change_as(text(&added, "token")?, &path, json!({ "reason": "r" })).await?;
    assert!(status == 409 && text(&refused, "detail")?.contains("ada has seen"), "{refused}");
    let denied = "SELECT change ->> 'reason' FROM operator_audit WHERE verb = 'denied' AND actor = 'sock'";
    assert_eq!(sqlx::query_scalar::<_, String>(denied).fetch_all(&world.db).await?, ["PERSON"]);
    let other = operator(&world, "otto", "operator").await?;
    let (status, done) = desk.change_as(&other, &path, json!({ "reason": "r" })).await?;
    assert!(status == 200 && done["job"]["job"].is_i64(), "{done}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_streams_of_one_operator_leave_room_for_the_others() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let _dlq = console.start(&world).await?;
    console.answers().await?;
    let (one, other) = (operator(&world, "vera", "viewer").await?, operator(&world, "vito", "viewer").await?);
    let open =
        async |token: &str| -> Result<_> { Ok(console.get("/events/campaigns").bearer_auth(token).send().await?) };
    let mut streams = Vec::new();
    for _ in 0..12 {
        streams.push(open(&one).await?.error_for_status()?);
    }
    let refused =
        console.get("/events/campaigns").bearer_auth(&one).header("accept", "application/json").send().await?;
    let (status, problem) = (refused.status().as_u16(), refused.json::<Value>().await?);
    assert!(status == 429 && text(&problem, "code")? == "TOO_MANY_STREAMS", "{problem}");
    assert_eq!(open(&other).await?.status(), 200);
    drop(streams);
    eventually("streams that were closed make room", SOON, async || -> Result<bool> {
        Ok(open(&one).await?.status() == 200)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_that_no_row_can_hold_is_bad_input_and_no_outage() -> Result<()> {
    let world = World::new().await?;
    let id = Entry::default().plant(&world).await?;
    let desk = Desk::new(&world, "olga", "operator").await?;
    for path in
        ["/work.json?cause=%00", "/work.json?reason=%00", "/audit.json?actor=%00", "/audit.json?until=-262142-01-01"]
    {
        let (status, problem) = desk.json(path).await?;
        assert!(status == 400 && text(&problem, "code")? == "BAD_INPUT", "{path}: {problem}");
    }
    let note: Value = json!({ "note": "a\u{0}b" });
    let (status, problem) = desk.change(&format!("/work/E{id}/note"), note).await?;
    assert!(status == 400 && text(&problem, "code")? == "BAD_INPUT", "{problem}");
    Ok(())
}
