//! S: the console's work list, its causes, dead letters, plans and jobs, through HTTP as a browser and a program ask them.

use anyhow::{Context, Result};
use coupon_e2e::{
    console::{Console, form, operator},
    process::Process,
    world::World,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rows::{Entry, Letter};

/// A console with an operator of a role.
pub(crate) struct Desk {
    pub(crate) console: Console,
    pub(crate) token: String,
    // The process ends when it is dropped.
    pub(crate) _dlq_consumer: Process,
}

impl Desk {
    pub(crate) async fn new(world: &World, name: &str, role: &str) -> Result<Self> {
        let console = Console::new()?;
        let dlq_consumer = console.start(world).await?;
        console.answers().await?;
        let token = operator(world, name, role).await?;
        Ok(Self { console, token, _dlq_consumer: dlq_consumer })
    }

    /// A page as JSON, with its status.
    pub(crate) async fn json(&self, path: &str) -> Result<(u16, Value)> {
        let request = self.console.get(path).bearer_auth(&self.token).header("accept", "application/json");
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.with_context(|| format!("{path}: {status}"))?))
    }

    /// A page as HTML, with its status.
    pub(crate) async fn html(&self, path: &str) -> Result<(u16, String)> {
        let answer = self.console.get(path).bearer_auth(&self.token).header("accept", "text/html").send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// A change as a program asks for it, with its status.
    pub(crate) async fn change(&self, path: &str, body: Value) -> Result<(u16, Value)> {
        self.change_as(&self.token, path, body).await
    }

    pub(crate) async fn change_as(&self, token: &str, path: &str, body: Value) -> Result<(u16, Value)> {
        let request = self.console.post(path).bearer_auth(token).header("accept", "application/json").json(&body);
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.with_context(|| format!("{path}: {status}"))?))
    }
}

pub(crate) fn numbers(page: &Value) -> Vec<i64> {
    page["rows"].as_array().into_iter().flatten().filter_map(|row| row["id"].as_i64()).collect()
}

pub(crate) fn text<'a>(page: &'a Value, field: &str) -> Result<&'a str> {
    page[field].as_str().with_context(|| format!("no {field} in {page}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_list_is_filtered_paged_and_bound_by_its_address() -> Result<()> {
    let world = World::new().await?;
    for _ in 0..5 {
        Entry::default().plant(&world).await?;
    }
    let disk =
        Entry { coupon: "OTHER", member: "disk-member", cause: Some("PERMANENT 53100 disk full"), ..Entry::default() };
    let wanted = disk.clone().plant(&world).await?;
    Entry { status: "IGNORED", ..Entry::default() }.plant(&world).await?;
    let desk = Desk::new(&world, "olga", "operator").await?;

    let (status, first) = desk.json("/work.json?status=PENDING&limit=4").await?;
    assert!(status == 200 && numbers(&first) == [6, 5, 4, 3], "{first}");
    assert_eq!(first["total"], json!({ "known": { "count": 6, "at_least": false } }));
    let (_, second) = desk.json(&text(&first, "older")?.replacen("/work", "/work.json", 1)).await?;
    assert!(numbers(&second) == [2, 1] && second["older"].is_null(), "{second}");
    let (_, back) = desk.json(&text(&second, "newer_page")?.replacen("/work", "/work.json", 1)).await?;
    assert_eq!(numbers(&back), numbers(&first));

    for query in ["cause=DISK+full", "campaign=OTHER", "member=disk-member", "campaign=OTHER&replayed=no&since=2h"] {
        let (_, found) = desk.json(&format!("/work.json?{query}")).await?;
        assert_eq!(numbers(&found), [wanted], "{query}: {found}");
    }
    let (_, none) = desk.json("/work.json?replayed=yes").await?;
    assert!(numbers(&none).is_empty(), "{none}");
    let wrong = ["colour=red", "before=x", "up_to=D1", "status=HELD", "since=yesterday", "before=3&after=1", "limit=0"];
    for query in wrong {
        let (status, problem) = desk.json(&format!("/work.json?{query}")).await?;
        assert!(status == 400 && problem["code"] == "BAD_INPUT", "{query}: {status} {problem}");
        let (status, page) = desk.html(&format!("/work?{query}")).await?;
        assert!(status == 400 && page.contains("To the overview"), "{query}: {status}");
    }

    let led = desk.console.get("/work?status=PENDING").bearer_auth(&desk.token).header("accept", "text/html");
    let led = led.send().await?;
    let bound = led.headers().get("location").context("a bound")?.to_str()?.to_owned();
    assert!(led.status() == 303 && bound.ends_with("up_to=E7"), "{bound}");
    Entry::default().plant(&world).await?;
    Entry { status: "IGNORED", ..Entry::default() }.plant(&world).await?;
    let (status, page) = desk.html(&bound).await?;
    assert!(status == 200 && page.contains("1 newer") && !page.contains("/work/E8"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_sees_no_member_and_no_bytes_and_support_sees_both() -> Result<()> {
    let world = World::new().await?;
    let request_id = Some(Uuid::now_v7());
    let entry = Entry { member: "zenobia-4711", reason: "Key (zenobia-4711) exists", request_id, ..Entry::default() };
    let entry = entry.plant(&world).await?;
    let letter =
        Letter { text: "zenobia-4711", request_id, entry: Some(entry), ..Letter::default() }.plant(&world).await?;
    // A topic is no place for a member.
    sqlx::query("UPDATE dlq_events SET origin_topic = 'coupon-issued'").execute(&world.db).await?;
    let desk = Desk::new(&world, "vera", "viewer").await?;
    let support = operator(&world, "sue", "support").await?;
    let pages =
        ["/work".to_owned(), format!("/work/E{entry}"), "/dead-letters".to_owned(), format!("/dead-letters/D{letter}")];
    for page in &pages {
        for form in ["", ".json"] {
            let path = format!("{page}{form}?up_to=");
            let path = if page.matches('/').count() > 1 { format!("{page}{form}") } else { path };
            let accept = if form.is_empty() { "text/html" } else { "application/json" };
            let ask = async |token: &str| -> Result<String> {
                let mut answer = desk.console.get(&path).bearer_auth(token).header("accept", accept).send().await?;
                if let Some(bound) = answer.headers().get("location") {
                    let bound = bound.to_str()?.to_owned();
                    answer = desk.console.get(&bound).bearer_auth(token).header("accept", accept).send().await?;
                }
                anyhow::ensure!(answer.status() == 200, "{path}: {}", answer.status());
                Ok(answer.text().await?)
            };
            let (masked, whole) = (ask(&desk.token).await?, ask(&support).await?);
            assert!(!masked.contains("zenobia") && masked.contains("ze…"), "{path}: {masked}");
            assert!(whole.contains("zenobia-4711"), "{path}: {whole}");
        }
    }
    let (_, record) = desk.json(&format!("/dead-letters/D{letter}.json")).await?;
    assert!(record["value"].is_null() && record["bytes_are_hidden"] == true, "{record}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_is_claimed_noted_and_settled_and_a_conflict_is_an_answer() -> Result<()> {
    let world = World::new().await?;
    let id = Entry::default().plant(&world).await?;
    let desk = Desk::new(&world, "olga", "operator").await?;
    let otto = operator(&world, "otto", "operator").await?;
    let at = |what: &str| format!("/work/E{id}/{what}");

    assert_eq!(desk.change(&at("claim"), json!({})).await?.0, 200);
    let (status, taken) = desk.change_as(&otto, &at("claim"), json!({})).await?;
    assert!(status == 409 && text(&taken, "detail")?.contains("olga"), "{taken}");
    assert_eq!(desk.change_as(&otto, &at("release"), json!({})).await?.1["changed"], true);
    assert_eq!(desk.change_as(&otto, &at("claim"), json!({})).await?.1["changed"], true);
    assert_eq!(desk.change(&at("note"), json!({ "note": "the <b>member</b> was called" })).await?.0, 200);
    assert_eq!(desk.change(&at("note"), json!({ "note": " " })).await?.0, 400);

    let settle = |verb: &str, reason: &str| json!({ "verb": verb, "reason": reason });
    assert_eq!(desk.change(&at("settle"), settle("resolve", "")).await?.0, 400, "a reason is needed");
    let form =
        form(desk.console.post(&at("settle")).bearer_auth(&desk.token), &[("verb", "resolve"), ("reason", "paid")]);
    let browser = form.header("accept", "text/html").send().await?;
    assert_eq!(
        (browser.status().as_u16(), browser.headers()["location"].to_str()?),
        (303, &*format!("/work/E{id}?done=changed"))
    );
    assert_eq!(desk.change(&at("settle"), settle("resolve", "paid")).await?.1["changed"], false);
    let (status, conflict) = desk.change_as(&otto, &at("settle"), settle("ignore", "no")).await?;
    let detail = text(&conflict, "detail")?;
    assert!(status == 409 && detail.contains("changed meanwhile") && detail.contains("RESOLVED by olga"), "{conflict}");
    let (status, refused) = desk.change(&at("replay"), json!({ "reason": "again" })).await?;
    assert!(status == 409 && text(&refused, "detail")?.contains("NOT_PENDING"), "{refused}");

    let (_, shown) = desk.json(&format!("/work/{id}.json")).await?;
    assert!(shown["claimed_by"] == "otto" && shown["notes"][0]["written_by"] == "olga", "{shown}");
    let verbs: Vec<&str> =
        shown["audit"].as_array().into_iter().flatten().filter_map(|row| row["verb"].as_str()).collect();
    assert_eq!(verbs, ["resolve", "note", "claim", "release", "claim"]);
    assert_eq!(shown["audit"][0]["provenance"]["login"], "TOKEN");
    let (_, page) = desk.html(&format!("/work/E{id}")).await?;
    assert!(page.contains("the &#60;b&#62;member&#60;/b&#62; was called"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_of_the_other_kind_is_a_page_that_says_where_it_is() -> Result<()> {
    let world = World::new().await?;
    let (entry, letter) = (Entry::default().plant(&world).await?, Letter::default().plant(&world).await?);
    Letter::default().plant(&world).await?;
    let desk = Desk::new(&world, "vera", "viewer").await?;
    assert_eq!(desk.html(&format!("/work/{entry}")).await?.0, 200);
    assert_eq!(desk.html(&format!("/work/e{entry}")).await?.0, 200);
    assert_eq!(desk.html(&format!("/dead-letters/d{letter}")).await?.0, 200);
    for (wrong, place) in [
        ("/work/D1", "/dead-letters/D1"),
        ("/dead-letters/E1", "/work/E1"),
        ("/work/E2", "/dead-letters/D2"),
        ("/work/E999", "there is no entry E999"),
        ("/work/first", "expected a number such as E403"),
        ("/replays/7", "there is no replay 7"),
        ("/jobs/x", "there is no job x"),
    ] {
        let (status, page) = desk.html(wrong).await?;
        assert!(status == 404 && page.contains(place) && page.contains("To the overview"), "{wrong}: {page}");
        let (status, problem) = desk.json(&format!("{wrong}.json")).await?;
        assert!(status == 404 && problem["code"] == "NOT_FOUND", "{wrong}: {problem}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn causes_stand_side_by_side_with_what_they_did_in_the_last_hour() -> Result<()> {
    let world = World::new().await?;
    for coupon in ["ONE", "TWO", "TWO"] {
        Entry { coupon, cause: Some("both"), ..Entry::default() }.plant(&world).await?;
    }
    Entry { cause: Some("settled"), status: "RESOLVED", ..Entry::default() }.plant(&world).await?;
    Entry { cause: Some("old"), days: 3, ..Entry::default() }.plant(&world).await?;
    let held = Letter { status: "HELD", text: "both", ..Letter::default() }.plant(&world).await?;
    Letter { text: "parked only", ..Letter::default() }.plant(&world).await?;
    let desk = Desk::new(&world, "vera", "viewer").await?;
    let (_, page) = desk.json("/causes.json").await?;
    let causes = page["causes"]["known"].as_array().context("causes")?;
    let of = |cause: &str| causes.iter().find(|row| row["cause"] == cause).cloned().unwrap_or_default();
    assert_eq!(causes.len(), 3, "{page}");
    let both = of("both");
    assert_eq!((&both["pending"], &both["held"], &both["parked"]), (&3.into(), &1.into(), &0.into()), "{both}");
    assert_eq!((&both["campaigns"], &both["sample"]), (&json!(["ONE", "PLANTED", "TWO"]), &format!("D{held}").into()));
    let last_hour =
        |row: &Value| row["minutes"].as_array().into_iter().flatten().filter_map(Value::as_i64).sum::<i64>();
    assert_eq!((last_hour(&both), last_hour(&of("old")), last_hour(&of("parked only"))), (4, 0, 1));
    let (_, html) = desk.html("/causes").await?;
    assert!(html.contains("/work?status=PENDING&#38;cause=both") && html.contains("class=\"spark\""), "{html}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notes_claims_and_filters_are_on_the_command_line_too() -> Result<()> {
    let world = World::new().await?;
    let request = Uuid::now_v7();
    let reason = "Disk quota exceeded";
    let id = Entry { request_id: Some(request), reason, ..Entry::default() }.plant(&world).await?;
    Entry::default().plant(&world).await?;
    let number = format!("E{id}");
    world.run("dlq-consumer", &["note", &number, "ticket 4711", "--by", "olga"]).await?.succeeded()?;
    world.run("dlq-consumer", &["claim", &number, "--by", "olga"]).await?.succeeded()?;
    let taken = world.run("dlq-consumer", &["claim", &number, "--by", "otto"]).await?;
    assert!(taken.code == Some(1) && taken.stderr.contains("olga"), "{taken:?}");
    let wrong = world.run("dlq-consumer", &["claim", "D1", "--by", "otto"]).await?;
    assert!(wrong.code == Some(2) && wrong.stderr.contains("dead letter"), "{wrong:?}");
    let shown = world.run("dlq-consumer", &["show", &number]).await?.succeeded()?;
    assert!(shown.contains("ticket 4711") && shown.contains("claimed by          olga"), "{shown}");
    world.run("dlq-consumer", &["release", &number, "--by", "otto"]).await?.succeeded()?;
    for filter in [["--request", &request.to_string()], ["--reason-text", "QUOTA"]] {
        let listed =
            world.run("dlq-consumer", &[&["list", "--output", "json"][..], &filter].concat()).await?.succeeded()?;
        let rows: Vec<Value> = serde_json::from_str(&listed)?;
        assert!(rows.len() == 1 && rows[0]["number"] == number.as_str(), "{filter:?}: {listed}");
    }
    Ok(())
}
