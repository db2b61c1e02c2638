//! O: what the console shows while a server is gone.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use coupon_e2e::{
    console::{Console, operator},
    failures::FullDisk,
    kafka::record::Record,
    proxy::Proxy,
    servers::private::{PrivateServers, Server},
    wait::eventually,
    world::{Setup, World},
};
use serde_json::Value;

use crate::{SOON, write::accepted};

/// Longest time that a page may take, whatever is gone.
const PAGE_WITHIN: Duration = Duration::from_millis(2_500);

/// Asks for a page and returns its status and text.
async fn in_time(console: &Console, token: &str, path: &str) -> Result<(u16, String)> {
    let began = Instant::now();
    let answer = console.get(path).bearer_auth(token).send().await?;
    let (status, text) = (answer.status().as_u16(), answer.text().await?);
    ensure!(began.elapsed() < PAGE_WITHIN, "{path} took {:?}: {text}", began.elapsed());
    Ok((status, text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_gone_or_silent_is_named_in_time() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let way = Proxy::before(&world.database_url).await?;
    let launch = world.start_dlq_consumer().set("console.listen", console.address()).database_through(&way);
    let _dlq = launch.await?;
    console.answers().await?;
    let token = operator(&world, "vera", "viewer").await?;
    assert_eq!(in_time(&console, &token, "/index.json").await?.0, 200);
    for is_silent in [true, false] {
        if is_silent {
            way.stall().await?;
        } else {
            way.cut().await?;
        }
        for path in ["/", "/health.json", "/audit", "/alarms", "/reconcile"] {
            let (_, text) = in_time(&console, &token, path).await?;
            assert!(text.contains("PostgreSQL does not answer"), "{path}: {text}");
        }
        way.restore().await?;
        eventually("the page is back", SOON, async || -> Result<bool> {
            Ok(console.get("/audit.json").bearer_auth(&token).send().await?.status() == 200)
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_gone_is_named_and_the_rest_stands() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let way = Proxy::before(&world.redis_url).await?;
    let launch = world.start_dlq_consumer().set("console.listen", console.address()).redis_through(&way);
    let _dlq = launch.await?;
    let token = operator(&world, "vera", "viewer").await?;
    for is_silent in [true, false] {
        if is_silent {
            way.stall().await?;
        } else {
            way.cut().await?;
        }
        let (status, text) = in_time(&console, &token, "/health.json").await?;
        let health: Value = serde_json::from_str(&text)?;
        let away = health["redis"]["away"].as_str().unwrap_or_default();
        assert!(status == 200 && away.starts_with("Redis does not answer"), "{health}");
        assert!(health["postgresql"]["known"].is_string() && health["groups"][0]["partitions"]["known"].is_array());
        let (status, home) = in_time(&console, &token, "/index.json").await?;
        let home: Value = serde_json::from_str(&home)?;
        assert!(status == 200 && home["waiting"]["known"].is_object(), "the overview does not need it: {home}");
        in_time(&console, &token, "/health/doctor.json").await?;
        way.restore().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_that_is_gone_is_named_and_the_rest_stands() -> Result<()> {
    let private = PrivateServers::start(&[Server::Kafka]).await?;
    let (world, console) = (World::with(Setup::on(private.servers())).await?, Console::new()?);
    let way = private.way_to_kafka();
    let _dlq = world.start_dlq_consumer().set("console.listen", console.address()).kafka_through(way).await?;
    let token = operator(&world, "vera", "viewer").await?;
    assert!(in_time(&console, &token, "/health.json").await?.1.contains("\"lag\""));
    for is_silent in [true, false] {
        if is_silent {
            way.stall().await?;
        } else {
            way.cut().await?;
        }
        let (status, text) = in_time(&console, &token, "/health.json").await?;
        let health: Value = serde_json::from_str(&text)?;
        let away = health["groups"][1]["partitions"]["away"].as_str().unwrap_or_default();
        assert!(status == 200 && away.starts_with("Kafka does not answer"), "{health}");
        assert!(health["kafka"]["away"].is_string(), "{health}");
        assert!(health["postgresql"]["known"].is_string() && health["redis"]["known"].is_string(), "{health}");
        let (_, doctor) = in_time(&console, &token, "/health/doctor.json").await?;
        assert!(doctor.contains("\"FAIL\"") && doctor.contains("kafka"), "{doctor}");
        way.restore().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_breaker_that_is_open_stands_on_the_page_of_health_until_it_is_closed() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    world.open_campaign("STUCK", 1).await?;
    let token = operator(&world, "vera", "viewer").await?;
    let (api, _dlq) = (world.start_api().await?, console.start(&world).await?);
    accepted(&world, &api, "STUCK", "unlucky").await?;
    let event = eventually("the event is published", SOON, async || -> Result<Option<_>> {
        Ok(world.topic.read().await?.first().map(Record::again))
    })
    .await?;
    // Reads go on and no write does: what the operator then looks at is this page. A service that starts meanwhile does not
    // consume, and has no breaker.
    let disk = FullDisk::of(&world.db).await?;
    world.dlq.write(&event).await?;
    let open = async || -> Result<Value> {
        let (_, text) = in_time(&console, &token, "/health.json").await?;
        Ok(serde_json::from_str::<Value>(&text)?["breakers"][0]["open"].clone())
    };
    let why = "No space left on device";
    eventually("it is open", SOON, async || -> Result<bool> {
        Ok(open().await?["why"].as_str().is_some_and(|told| told.contains(why)))
    })
    .await?;
    let page = console.get("/health").bearer_auth(&token).header("accept", "text/html").send().await?.text().await?;
    ensure!(page.contains("open</span> since 20") && page.contains(why), "{page}");
    disk.make_room().await?;
    eventually("it is closed", SOON * 2, async || -> Result<bool> { Ok(open().await?.is_null()) }).await
}
