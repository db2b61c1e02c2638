//! What is seen from outside of one request, one process, one campaign: traces, the access log, metrics.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode, kafka::record::Record, otlp::OtlpReceiver, process::Process, wait::eventually, world::World,
};

use crate::{AFTER_ALL_ATTEMPTS, SOON, write::accepted};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// The trace context of a request, sampled or not.
pub fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flags}")
}

/// Asks with these headers and gives the answer, which must be good.
pub async fn ask(world: &World, api: &Process, code: &str, id: &str, headers: &[(&str, &str)]) -> Result<()> {
    let change = |request| {
        headers.iter().fold(request, |request: reqwest::RequestBuilder, (name, value)| request.header(*name, *value))
    };
    let answer = world.member(api, id)?.ask_with(code, change).await;
    ensure!(answer.is_held(), "{answer:?}");
    Ok(())
}

/// The record of a member, once it is in the topic.
async fn record_of(world: &World, member: &str) -> Result<Record> {
    eventually("the record is in the topic", SOON, async || -> Result<Option<Record>> {
        let records = world.topic.read().await?;
        Ok(records.into_iter().find(|record| record.key.as_deref() == Some(member.as_bytes())))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_request_is_one_trace_with_spans_of_all_three_binaries_through_the_dead_letter_too() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("TRACED", 10).await?;
    world.fail_member("TRACED", "unlucky", FailMode::Permanently).await?;
    let receiver = OtlpReceiver::start().await?;
    let (api, issue, dlq) = tokio::try_join!(
        world
            .start_api()
            .set("telemetry.otlp_endpoint", receiver.url())
            .set("telemetry.sample_ratio", 0.0)
            .into_future(),
        world.start_issue_consumer().set("telemetry.otlp_endpoint", receiver.url()).into_future(),
        world.start_dlq_consumer().set("telemetry.otlp_endpoint", receiver.url()).into_future()
    )?;
    // Not sampled, by the share and by its caller.
    ask(&world, &api, "TRACED", "unseen", &[]).await?;
    let other = parent("00").replace(TRACE, &TRACE.replace('4', "5"));
    ask(&world, &api, "TRACED", "unsampled", &[("traceparent", &other)]).await?;
    ask(&world, &api, "TRACED", "unlucky", &[("traceparent", &parent("01")), ("x-request-id", "shop-7")]).await?;
    let spans = eventually("three services have sent their spans", AFTER_ALL_ATTEMPTS, async || -> Result<_> {
        let spans = receiver.trace(TRACE);
        ensure!(spans.len() >= 3, "{spans:#?}");
        Ok(Some(spans))
    })
    .await?;
    let of = |service: &str| spans.iter().find(|span| span.service == service).with_context(|| format!("{spans:#?}"));
    let (accepting, writing, repairing) = (of("issuer-api")?, of("issue-consumer")?, of("dlq-consumer")?);
    assert_eq!(accepting.parent_id, CALLER);
    assert_eq!(accepting.name, "POST /api/v1/coupons/{code}/issues");
    assert_eq!((&writing.parent_id, &repairing.parent_id), (&accepting.span_id, &accepting.span_id));
    let has = |name: &str, value: &str| accepting.attributes.get(name).is_some_and(|found| found == value);
    ensure!(has("coupon.code", "TRACED") && has("coupon.outcome", "ACCEPTED"), "{accepting:?}");
    ensure!(
        has("http.request.header.x-request-id", "shop-7") && has("http.response.status_code", "202"),
        "{accepting:?}"
    );
    let id = accepting.attributes.get("coupon.request_id").context("a request id")?;
    for span in [writing, repairing] {
        ensure!(span.attributes.get("coupon.request_id") == Some(id) && span.is_failed && span.events == 1, "{span:?}");
    }
    ensure!(!accepting.is_failed, "{accepting:?}");
    // The last spans of a process that stops arrive too, and no others were sent.
    for process in [&api, &issue, &dlq] {
        process.terminate(SOON).await?;
    }
    let others: Vec<_> = receiver.all().into_iter().filter(|span| span.trace_id != TRACE).collect();
    ensure!(others.is_empty(), "{others:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_endpoint_a_trace_context_goes_on_as_it_came_and_no_other_record_has_a_header() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("UNTRACED", 10).await?;
    let api = world.start_api().await?;
    ask(&world, &api, "UNTRACED", "sampled", &[("traceparent", &parent("01"))]).await?;
    ask(&world, &api, "UNTRACED", "unsampled", &[("traceparent", &parent("00"))]).await?;
    ask(&world, &api, "UNTRACED", "none", &[]).await?;
    ask(&world, &api, "UNTRACED", "broken", &[("traceparent", "00-0-0-0\"")]).await?;
    for (member, expected) in
        [("sampled", Some(parent("01"))), ("unsampled", Some(parent("00"))), ("none", None), ("broken", None)]
    {
        let record = record_of(&world, member).await?;
        assert_eq!(record.header("traceparent"), expected.as_deref(), "{member}");
        assert_eq!(record.header("tracestate"), None);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_away_fails_no_request_and_is_said_once() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("UNHEARD", 10).await?;
    let receiver = OtlpReceiver::start().await?;
    let url = receiver.url().to_owned();
    drop(receiver);
    let api = world.start_api().set("telemetry.otlp_endpoint", &url).set("telemetry.sample_ratio", 1.0).await?;
    for member in ["one", "two"] {
        accepted(&world, &api, "UNHEARD", member).await?;
    }
    eventually("the spans are lost", SOON, async || -> Result<bool> {
        Ok(api.metric("coupon_spans_lost_total", "EXPORT_FAILED").await? == Some(2.0))
    })
    .await?;
    let lines: Vec<_> =
        api.log().into_iter().filter(|line| line.message().contains("telemetry.otlp_endpoint")).collect();
    ensure!(lines.len() == 1 && lines[0].message().contains(&url), "{lines:?}");
    ensure!(record_of(&world, "one").await?.header("traceparent").is_some_and(|value| value.ends_with("-01")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_access_log_is_off_by_default_and_names_no_member_when_it_is_on() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("LOGGED", 10).await?;
    let is_access =
        |line: &coupon_e2e::process::logs::LogLine| line.text_of("target").as_deref() == Some("issuer_api::access");
    let silent = world.start_api().await?;
    ask(&world, &silent, "LOGGED", "somebody-else", &[]).await?;
    let api = world.start_api().set("telemetry.access_log", 1.0).await?;
    ask(&world, &api, "LOGGED", "secret-member", &[("traceparent", &parent("00")), ("x-request-id", "shop-7")]).await?;
    let line = api.wait_for_log("the line of the request", SOON, is_access).await?;
    assert_eq!(line.message(), "POST /api/v1/coupons/{code}/issues 202");
    let field = |name: &str| line.text_of(name).unwrap_or_default();
    assert_eq!(
        ["id", "trace_id", "coupon", "outcome", "status"].map(field),
        ["shop-7", TRACE, "LOGGED", "ACCEPTED", "202"]
    );
    // Also of the other routes, with an id that is made and comes back.
    let (status, headers, _) =
        world.member(&api, "secret-member")?.get("/api/v1/coupons/LOGGED/issues/mine?secret-query=1").await?;
    let id = headers.get("x-request-id").context("an id")?.to_str()?.to_owned();
    let line = api
        .wait_for_log("the other line", SOON, |line| is_access(line) && line.text_of("id").as_ref() == Some(&id))
        .await?;
    assert_eq!(line.message(), format!("GET /api/v1/coupons/{{code}}/issues/mine {status}"));
    for secret in ["secret-member", "secret-query", "eyJ"] {
        ensure!(!api.log_contains(secret), "{secret}");
    }
    ensure!(!silent.log().iter().any(is_access));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_tells_what_it_is_and_what_it_uses() -> Result<()> {
    let world = World::in_line().await?;
    let services = crate::Services::start(&world).await?;
    let common = ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_threads"];
    for (process, further) in [
        (
            &services.api,
            &[
                ("coupon_producer_queue_records", ""),
                ("coupon_http_requests_in_flight", ""),
                ("coupon_http_connections", "members"),
            ][..],
        ),
        (&services.issue_consumer, &[("coupon_producer_queue_records", "")][..]),
        (&services.dlq_consumer, &[("coupon_condition_ready", "redis")][..]),
    ] {
        let all = [
            ("coupon_build_info", env!("CARGO_PKG_VERSION")),
            ("coupon_database_connections", "idle"),
            ("coupon_http_connections", "admin"),
        ];
        for (name, label) in common.map(|name| (name, "")).iter().chain(&all).chain(further) {
            ensure!(process.metric(name, label).await?.is_some(), "{name} {label} in {}", process.metrics().await?);
        }
        ensure!(process.metric("coupon_database_max_connections", "").await?.is_some_and(|most| most > 1.0));
    }
    // The scrape itself has a connection.
    ensure!(services.api.metric("coupon_http_connections", "admin").await?.is_some_and(|open| open >= 1.0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_campaigns_that_opened_last_have_metrics_of_their_own_until_they_are_closed() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("OLDER", 10).await?;
    world.open_campaign("NEWER", 1).await?;
    let api = world.start_api().set("telemetry.campaigns", 1).await?;
    let of = |label: &'static str| {
        let api = &api;
        async move { api.metric("coupon_open_campaign_held", label).await }
    };
    eventually("the newer one is measured", SOON, async || -> Result<bool> { Ok(of("NEWER").await? == Some(0.0)) })
        .await?;
    ensure!(of("OLDER").await?.is_none());
    accepted(&world, &api, "NEWER", "one").await?;
    accepted(&world, &api, "OLDER", "one").await?;
    ensure!(world.member(&api, "two")?.ask("NEWER").await.is_refused_as(409, "SOLD_OUT"));
    eventually("the answers are counted", SOON, async || -> Result<bool> {
        let page = api.metrics().await?;
        let of = |outcome: &str| {
            format!("coupon_open_campaign_requests_total{{coupon=\"NEWER\",outcome=\"{outcome}\"}} 1\n")
        };
        ensure!(page.contains(&of("ACCEPTED")) && page.contains(&of("SOLD_OUT")), "{page}");
        ensure!(page.contains("# HELP coupon_open_campaign_held "), "{page}");
        Ok(page.contains("\ncoupon_open_campaign_held{coupon=\"NEWER\"} 1\n"))
    })
    .await?;
    world.coupon(&["close", "NEWER"]).await?.succeeded()?;
    eventually("the older one takes its place", SOON * 2, async || -> Result<bool> {
        Ok(of("NEWER").await?.is_none() && of("OLDER").await? == Some(1.0))
    })
    .await
}
