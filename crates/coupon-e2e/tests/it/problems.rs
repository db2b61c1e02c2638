//! Problems lead to pages, and what a client may believe to need is accepted and changes nothing.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{member::http_client, world::World};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_problem_leads_to_a_page_for_people_and_to_json_for_programs() -> Result<()> {
    let world = World::new().await?;
    let api = world.start_api().await?;
    let (http, url) = (http_client()?, api.http_url()?);
    let refused: Value = http.post(format!("{url}/api/v1/coupons/NOWHERE/issues")).send().await?.json().await?;
    assert_eq!((&refused["type"], &refused["retryable"]), (&"/problems/UNAUTHENTICATED".into(), &false.into()));
    let all: Value = http.get(format!("{url}/problems")).send().await?.json().await?;
    let all = all.as_array().context("a list")?;
    ensure!(all.iter().any(|page| page["code"] == "UNAUTHENTICATED") && all.len() > 20, "{all:?}");
    for page in all {
        let of_page = format!("{url}/problems/{}", page["code"].as_str().context("a code")?);
        let alone: Value = http.get(&of_page).send().await?.json().await?;
        assert_eq!(&alone, page);
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let shown = http.get(&of_page).header(ACCEPT, browser).send().await?;
        ensure!(shown.headers()[CONTENT_TYPE].to_str()?.starts_with("text/html"), "{shown:?}");
        let shown = shown.text().await?;
        for name in ["title", "retry", "tell"] {
            ensure!(shown.contains(page[name].as_str().context(name)?), "{name} of {page} is missing in {shown}");
        }
    }
    let unknown = http.get(format!("{url}/problems/%3Cscript%3E")).header(ACCEPT, "text/html").send().await?;
    assert_eq!(unknown.status().as_u16(), 404);
    ensure!(!unknown.text().await?.contains("<script>"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idempotency_key_is_ignored_because_campaign_and_member_are_the_key() -> Result<()> {
    let world = World::new().await?;
    for code in ["ONE", "OTHER"] {
        world.open_campaign(code, 10).await?;
    }
    let api = world.start_api().await?;
    let member = world.member(&api, "careful")?;
    let asked = async |code: &str, key: &'static str| {
        let answer = member.ask_with(code, |request| request.header("idempotency-key", key)).await;
        answer.request_id.with_context(|| format!("{answer:?}"))
    };
    let first = asked("ONE", "a").await?;
    assert_eq!(asked("ONE", "b").await?, first, "another key, the same request");
    assert_ne!(asked("OTHER", "a").await?, first, "the same key, another request");
    Ok(())
}
