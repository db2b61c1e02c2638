//! The public view of a campaign: who may see it, and what it costs to have a crowd look at it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    member::{Member, http_client},
    process::{Process, logs::LogLine},
    servers::cache::Cache,
    wait::eventually,
    world::World,
};
use reqwest::{Client, Response, header};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{SOON, write::accepted};

/// Polls of the crowd, of each campaign: those of two seconds at 10,000 polls a second.
const POLLS: u64 = 20_000;
/// Members who poll at a time, of each campaign.
const POLLING: usize = 32;

fn header_of(answer: &Response, name: header::HeaderName) -> Option<String> {
    answer.headers().get(name)?.to_str().ok().map(str::to_owned)
}

/// Asks for a campaign without a token.
async fn show(http: &Client, url: &str, code: &str) -> Result<Response> {
    Ok(http.get(format!("{url}/api/v1/coupons/{code}")).send().await?)
}

/// Number of requests for campaigns that an API process was asked, by its own access log.
fn asked(api: &Process) -> usize {
    let is_show = |line: &&LogLine| line.message().starts_with("GET /api/v1/coupons/{code} ");
    api.log().iter().filter(is_show).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_is_shown_without_a_token_and_to_a_cache_unless_the_operator_asks_for_one() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SEEN", 10).await?;
    let (open, guarded) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_api().set("http.public_campaigns", false).into_future()
    )?;
    accepted(&world, &open, "SEEN", "a-holder").await?;
    let http = http_client()?;
    let answer = show(&http, open.http_url()?, "SEEN").await?;
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(header_of(&answer, header::CACHE_CONTROL).as_deref(), Some("public, max-age=1"));
    let shown: Value = answer.json().await?;
    assert_eq!((&shown["status"], &shown["total"], &shown["remaining"]), (&"OPEN".into(), &10.into(), &9.into()));
    let server_time: chrono::DateTime<chrono::Utc> = shown["server_time"].as_str().context("a time")?.parse()?;
    ensure!((chrono::Utc::now() - server_time).num_seconds().abs() <= 2, "{shown}");
    ensure!(!shown.to_string().contains("a-holder"), "{shown}");

    // A token that does not count is none that is needed: the answer is one for everybody.
    let with_a_bad_token = Member::new("x", "no-token", open.http_url()?, world.answers.clone())?;
    assert_eq!(with_a_bad_token.get("/api/v1/coupons/SEEN").await?.0, 200);
    let refused = show(&http, guarded.http_url()?, "SEEN").await?;
    assert_eq!((refused.status().as_u16(), refused.headers().contains_key(header::WWW_AUTHENTICATE)), (401, true));
    let (status, headers, _) = world.member(&guarded, "anybody")?.get("/api/v1/coupons/SEEN").await?;
    assert_eq!((status, headers[header::CACHE_CONTROL].to_str()?), (200, "private, max-age=1"));
    let unknown = show(&http, open.http_url()?, "NOWHERE").await?;
    assert_eq!(unknown.status().as_u16(), 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_view_of_this_second_gets_304_and_whoever_has_an_older_one_gets_the_new_one() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("TAGGED", 10).await?;
    let (api, other) = tokio::try_join!(world.start_api().into_future(), world.start_api().into_future())?;
    let member = world.member(&api, "reader")?;
    let elsewhere = world.member(&other, "reader")?;
    let path = "/api/v1/coupons/TAGGED";
    // Both answers are of one second sooner or later, also from another process.
    let tag = eventually("an answer is known to the other process", SOON, async || -> Result<Option<String>> {
        let (_, headers, _) = member.get(path).await?;
        let tag = headers[header::ETAG].to_str()?.to_owned();
        let (status, headers, body) = elsewhere.get_with(path, |request| request.header("if-none-match", &tag)).await?;
        if status != 304 {
            return Ok(None);
        }
        ensure!(body.is_null() && headers[header::ETAG].to_str()? == tag, "{headers:?} {body}");
        ensure!(headers[header::CACHE_CONTROL].to_str()? == "public, max-age=1", "{headers:?}");
        Ok(Some(tag))
    })
    .await?;
    accepted(&world, &api, "TAGGED", "somebody").await?;
    let (status, headers, shown) = member.get_with(path, |request| request.header("if-none-match", &tag)).await?;
    assert_eq!((status, &shown["remaining"]), (200, &9.into()));
    ensure!(headers[header::ETAG].to_str()? != tag, "{headers:?}");
    Ok(())
}

/// Counts requests at the origin over the seconds that pass; how fast the crowd is depends on the machine and is not claimed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polls_through_a_cache_cost_the_origin_at_most_two_a_second_and_campaign() -> Result<()> {
    let world = World::new().await?;
    let codes = ["FIRST", "SECOND"];
    for code in codes {
        world.open_campaign(code, 10).await?;
    }
    let api = world.start_api().set("telemetry.access_log", 1.0).await?;
    let cache = Cache::before(api.http_url()?).await?;
    let (started, before) = (Instant::now(), asked(&api));
    let mut crowd: JoinSet<Result<()>> = JoinSet::new();
    for code in codes {
        let left = Arc::new(AtomicU64::new(POLLS));
        for _ in 0..POLLING {
            let (left, http, url) = (Arc::clone(&left), http_client()?, cache.url().to_owned());
            crowd.spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    let answer = show(&http, &url, code).await?;
                    let (status, shown) = (answer.status(), answer.json::<Value>().await?);
                    ensure!(status == 200 && shown["code"] == code, "{status} {shown}");
                }
                Ok(())
            });
        }
    }
    for polled in crowd.join_all().await {
        polled?;
    }
    let seconds = started.elapsed().as_secs() + 1;
    let origin = asked(&api) - before;
    println!("{} polls in {seconds} s cost the origin {origin}", 2 * POLLS);
    let most = usize::try_from(2 * seconds)? * codes.len();
    ensure!((1..=most).contains(&origin), "{origin} requests at the origin in {seconds} s");

    // What happens is seen through it too.
    accepted(&world, &api, "FIRST", "somebody").await?;
    let http = http_client()?;
    eventually("the cache shows it", SOON, async || -> Result<bool> {
        Ok(show(&http, cache.url(), "FIRST").await?.json::<Value>().await?["remaining"] == 9)
    })
    .await?;
    Ok(())
}
