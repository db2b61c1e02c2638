//! The examples of the API's document, each replayed against the running binary.

mod answers;
mod examples;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode, member::http_client, process::Process, proxy::Proxy, wait::eventually, world::World,
};
use uuid::Uuid;

use self::{
    answers::{Got, raw},
    examples::Examples,
};
use crate::{SOON, admission::Room};

/// How long a body may take in these tests, in ms.
const BODY_WITHIN_MS: u64 = 3000;

/// Campaign of the examples.
const CODE: &str = "SUMMER";

/// What a test replays against: the document of a binary, and that binary.
struct Api<'a> {
    world: &'a World,
    process: Process,
}

impl Api<'_> {
    fn url(&self, path: &str) -> Result<String> {
        Ok(format!("{}{path}", self.process.http_url()?))
    }

    fn token(&self, member: &str) -> Result<String> {
        self.world.signer.token(member).sign()
    }

    async fn get(&self, member: &str, path: &str) -> Result<Got> {
        Got::of(http_client()?.get(self.url(path)?).bearer_auth(self.token(member)?)).await
    }

    async fn ask(&self, member: &str, code: &str) -> Result<Got> {
        self.post(member, code, "").await
    }

    async fn post(&self, member: &str, code: &str, body: &str) -> Result<Got> {
        let request = http_client()?.post(self.url(&format!("/api/v1/coupons/{code}/issues"))?);
        Got::of(request.bearer_auth(self.token(member)?).body(body.to_owned())).await
    }

    /// The head of a POST with a body of two bytes that never come.
    fn slow(&self, member: &str) -> Result<String> {
        Ok(format!(
            "POST /api/v1/coupons/{CODE}/issues HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 2\r\n\r\n",
            self.token(member)?
        ))
    }

    fn address(&self) -> Result<&str> {
        Ok(self.process.http_url()?.trim_start_matches("http://"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_of_the_document_is_what_the_binary_answers() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign(CODE, 100).await?;
    let room = Room::new(&world)?;
    let launch = room.before(world.start_api()).set("http.answer_within_ms", 30_000);
    let (process, _issue, _dlq) = tokio::try_join!(
        launch.set("http.header_timeout_ms", BODY_WITHIN_MS).into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("jobs.workers", 0).into_future()
    )?;
    let api = Api { world: &world, process };
    let mut examples = Examples::of(&api.get("anybody", "/openapi.json").await?.body)?;
    let other = Examples::of(&api.get("anybody", "/openapi-3.0.json").await?.body)?;
    ensure!(examples == other, "the renderings have the same examples");

    requests(&api, &mut examples).await?;
    refusals(&api, &mut examples).await?;
    admissions(&api, &room, &mut examples).await?;
    what_is_no_request(&api, &mut examples).await?;
    load_and_outages(&world, &mut examples).await?;
    // A fault of ours cannot be asked for; `a_panic_becomes_an_answer` is its test.
    assert_eq!(examples.left(), ["INTERNAL"]);
    Ok(())
}

/// What becomes of requests.
async fn requests(api: &Api<'_>, examples: &mut Examples) -> Result<()> {
    let asked = api.ask("alice", CODE).await?;
    let id = asked.body["request_id"].as_str().context("a request id")?.to_owned();
    examples.replay("askForCoupon", "Accepted", &asked)?;
    let path = asked.header("location").context("where it is shown")?.to_owned();
    eventually("the repeat says that Kafka has it", SOON, async || -> Result<bool> {
        let again = api.ask("alice", CODE).await?;
        ensure!(again.body["request_id"] == id.as_str(), "{again:?}");
        ensure!(again.body["state"] == "accepted", "{again:?}");
        examples.replay("askForCoupon", "Repeated", &again)?;
        Ok(true)
    })
    .await?;
    eventually("it is issued", SOON, async || -> Result<bool> {
        Ok(api.get("alice", &path).await?.body["state"] == "issued")
    })
    .await?;
    examples.replay("showIssue", "Issued", &api.get("alice", &path).await?)?;
    let mine = api.get("alice", &format!("/api/v1/coupons/{CODE}/issues/mine")).await?;
    examples.replay("showMyIssue", "Issued", &mine)?;
    examples.replay("listMyIssues", "Requests", &api.get("alice", "/api/v1/issues/mine").await?)?;

    let rule = api.world.fail_member(CODE, "unlucky", FailMode::Permanently).await?;
    let path = api.ask("unlucky", CODE).await?.header("location").context("where it is shown")?.to_owned();
    eventually("it is compensated", SOON, async || -> Result<bool> {
        Ok(api.get("unlucky", &path).await?.body["state"] == "compensated")
    })
    .await?;
    rule.lift().await?;
    eventually("another one brings a coupon", SOON, async || -> Result<bool> {
        api.ask("unlucky", CODE).await?;
        Ok(api.get("unlucky", &path).await?.body["replaced_by"]["state"] == "issued")
    })
    .await?;
    examples.replay("showIssue", "Compensated", &api.get("unlucky", &path).await?)?;

    let shown = Got::of(http_client()?.get(api.url(&format!("/api/v1/coupons/{CODE}"))?)).await?;
    examples.replay("showCoupon", "Campaign", &shown)?;
    examples.replay("showProblem", "SoldOutPage", &api.get("anybody", "/problems/SOLD_OUT").await?)
}

/// Verdicts, and what is wrong with a request.
async fn refusals(api: &Api<'_>, examples: &mut Examples) -> Result<()> {
    let world = api.world;
    let tomorrow = (chrono::Utc::now() + chrono::TimeDelta::days(1)).to_rfc3339();
    world.create_campaign("LATER", 5, &["--opens-at", &tomorrow]).await?;
    for (code, total) in [("GONE", 1), ("OVER", 5), ("BROKEN", 5)] {
        world.open_campaign(code, total).await?;
    }
    ensure!(api.ask("holder", "GONE").await?.status == 202);
    world.coupon(&["close", "OVER"]).await?.succeeded()?;
    world.stock.set_meta("BROKEN", &[("status", "SUSPECT")]).await?;
    for (code, name) in [
        ("GONE", "SOLD_OUT"),
        ("LATER", "NOT_OPEN"),
        ("OVER", "CLOSED"),
        ("BROKEN", "GATE_CLOSED"),
        ("NOWHERE", "COUPON_NOT_FOUND"),
        ("a%20b", "INVALID_COUPON_CODE"),
    ] {
        examples.replay("askForCoupon", name, &api.ask("nobody", code).await?)?;
    }
    let without_token = Got::of(http_client()?.post(api.url(&format!("/api/v1/coupons/{CODE}/issues"))?)).await?;
    examples.replay("askForCoupon", "UNAUTHENTICATED", &without_token)?;
    examples.replay("askForCoupon", "INVALID_BODY", &api.post("nobody", CODE, "[]").await?)?;
    examples.replay("askForCoupon", "PAYLOAD_TOO_LARGE", &api.post("nobody", CODE, &"x".repeat(2000)).await?)?;
    let unknown = format!("/api/v1/coupons/{CODE}/issues/{}", Uuid::now_v7());
    examples.replay("showIssue", "REQUEST_NOT_FOUND", &api.get("nobody", &unknown).await?)?;
    let mine = api.get("nobody", &format!("/api/v1/coupons/{CODE}/issues/mine")).await?;
    examples.replay("showMyIssue", "NOTHING_HELD", &mine)?;
    examples.replay("listMyIssues", "INVALID_QUERY", &api.get("nobody", "/api/v1/issues/mine?limit=0").await?)?;
    examples.replay("showProblem", "NOT_FOUND", &api.get("nobody", "/problems/NOTHING").await?)
}

/// What is wrong with the token of a waiting room.
async fn admissions(api: &Api<'_>, room: &Room, examples: &mut Examples) -> Result<()> {
    room.open(api.world, "QUEUE").await?;
    let expired = room.token("nobody", "QUEUE").expires_in(-60).sign()?;
    for (token, name) in
        [(None, "ADMISSION_REQUIRED"), (Some(&expired[..]), "ADMISSION_EXPIRED"), (Some("x"), "ADMISSION_INVALID")]
    {
        let request = http_client()?.post(api.url("/api/v1/coupons/QUEUE/issues")?).bearer_auth(api.token("nobody")?);
        let got = Got::of(token.into_iter().fold(request, |request, token| request.header("coupon-admission", token)));
        examples.replay("askForCoupon", name, &got.await?)?;
    }
    Ok(())
}

/// What never comes to a handler, and a body that never comes.
async fn what_is_no_request(api: &Api<'_>, examples: &mut Examples) -> Result<()> {
    let get = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{header}\r\n");
    let long = "x".repeat(65_600);
    for (name, request) in [
        ("BAD_REQUEST", get("/", "content-length: -1\r\n")),
        ("URI_TOO_LONG", get(&format!("/{long}"), "")),
        ("HEADERS_TOO_LARGE", get("/", &"x-many: 1\r\n".repeat(101))),
        ("METHOD_NOT_ALLOWED", get("/api/v1/coupons/SUMMER/issues", "")),
    ] {
        examples.replay("askForCoupon", name, &raw(api.address()?, &request).await.context(name)?)?;
    }
    examples.replay("askForCoupon", "REQUEST_TIMEOUT", &raw(api.address()?, &api.slow("slow")?).await?)
}

/// What a process says that is full, that begins, and that has lost its servers.
async fn load_and_outages(world: &World, examples: &mut Examples) -> Result<()> {
    world.open_campaign("FULL", 5).await?;
    // An entry that nobody can publish keeps the outbox full.
    world.stock.set_outbox("FULL", "nothing").await?;
    let (redis, database) = (Proxy::before(&world.redis_url).await?, Proxy::before(&world.database_url).await?);
    redis.cut().await?;
    let (hasty, narrow, lonely) = tokio::try_join!(
        world.start_api().set("http.answer_within_ms", 0).set("outbox.cap", 1).into_future(),
        world.start_api().set("http.max_in_flight", 1).set("http.header_timeout_ms", 20_000).into_future(),
        world.start_api().redis_through(&redis).database_through(&database).without_waiting().into_future()
    )?;
    let [hasty, narrow, lonely] = [hasty, narrow, lonely].map(|process| Api { world, process });

    let mut number = 0;
    eventually("one of them is answered before Kafka has it", SOON, async || -> Result<bool> {
        number += 1;
        let asked = hasty.ask(&format!("hasty-{number}"), CODE).await?;
        ensure!(asked.body["state"] == "reserved", "{asked:?}");
        examples.replay("askForCoupon", "Reserved", &asked)?;
        Ok(true)
    })
    .await?;
    examples.replay("askForCoupon", "OUTBOX_FULL", &hasty.ask("late", "FULL").await?)?;

    // One request takes the only place for as long as its body does not come.
    let (address, slow) = (narrow.address()?.to_owned(), narrow.slow("slow")?);
    let holding = tokio::spawn(async move { raw(&address, &slow).await });
    eventually("no place is left", SOON, async || -> Result<bool> {
        let refused = narrow.get("other", "/api/v1/issues/mine").await?;
        ensure!(refused.status == 429, "{refused:?}");
        examples.replay("listMyIssues", "TOO_MANY_REQUESTS", &refused)?;
        Ok(true)
    })
    .await?;
    holding.abort();

    eventually("it listens", SOON, async || -> Result<bool> {
        let early = lonely.ask("early", CODE).await?;
        examples.replay("askForCoupon", "STARTING", &early)?;
        Ok(true)
    })
    .await?;
    redis.restore().await?;
    eventually("it is ready", SOON * 2, async || lonely.process.admin_status("/readyz").await == Some(200)).await?;
    redis.cut().await?;
    examples.replay("askForCoupon", "STOCK_UNAVAILABLE", &lonely.ask("unheard", CODE).await?)?;
    redis.restore().await?;
    database.cut().await?;
    eventually("redis answers again", Duration::from_secs(20), async || -> Result<bool> {
        let list = lonely.get("unheard", "/api/v1/issues/mine").await?;
        ensure!(list.body["code"] == "DATABASE_UNAVAILABLE", "{list:?}");
        examples.replay("listMyIssues", "DATABASE_UNAVAILABLE", &list)?;
        Ok(true)
    })
    .await?;
    Ok(())
}
