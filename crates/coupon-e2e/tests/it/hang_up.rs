//! A5: clients that hang up.

use std::time::Duration;

use anyhow::{Context, Result};
use coupon_e2e::{
    process::Process,
    proxy::Proxy,
    wait::{eventually, pause},
    world::World,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use uuid::Uuid;

use crate::{SOON, accept::published};

/// Clients who hang up only when they have read this much of the answer, one for each number of bytes up to it.
const ANSWERED: usize = 40;

/// Starts an API whose relay publishes nothing for a minute, so that the handler publishes every record.
async fn without_relay(world: &World) -> Result<Process> {
    // The publish takes a while, so that there is time to hang up before it.
    world.start_api().set("outbox.min_age_ms", 60_000).set("kafka.properties.linger.ms", 300).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_client_that_hangs_up_between_script_and_publish_is_published_all_the_same() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("GONE", 10).await?;
    let api = without_relay(&world).await?;
    let mut client = connect(&api).await?;
    client.write_all(&request(&world, &api, "gone")?).await?;
    let reserved = eventually("the reservation is in Redis", SOON, async || -> Result<Option<Uuid>> {
        Ok(world.stock.of("GONE").await?.holder_of("gone"))
    });
    let reserved = reserved.await?;
    drop(client);
    published(&world, &[reserved], SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_client_that_hangs_up_before_redis_has_answered_is_published_all_the_same() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("GONE", 10).await?;
    let proxy = Proxy::before(&world.redis_url).await?;
    let api = world.start_api().set("outbox.min_age_ms", 60_000).redis_through(&proxy).await?;
    // The script has run this long before the API learns of it.
    proxy.delay(Duration::from_millis(400)).await?;
    let mut client = connect(&api).await?;
    client.write_all(&request(&world, &api, "gone")?).await?;
    let reserved = eventually("the reservation is in Redis", SOON, async || -> Result<Option<Uuid>> {
        Ok(world.stock.of("GONE").await?.holder_of("gone"))
    });
    let reserved = reserved.await?;
    drop(client);
    published(&world, &[reserved], SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_worked_on_for_clients_who_have_hung_up_counts_against_the_limit() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("GONE", 10).await?;
    let way = Proxy::before(&world.redis_url).await?;
    let api = world.start_api().set("http.max_in_flight", 4).set("redis.response_timeout_ms", 5000);
    let api = api.redis_through(&way).await?;
    way.stall().await?;
    let mut clients = JoinSet::new();
    for number in 0..8 {
        let (mut client, request) = (connect(&api).await?, request(&world, &api, &format!("gone-{number}"))?);
        clients.spawn(async move {
            client.write_all(&request).await?;
            let mut status = [0; 12];
            client.read_exact(&mut status).await?;
            Ok::<_, anyhow::Error>(status)
        });
    }
    for _ in 0..4 {
        let answer = clients.join_next().await.context("nobody waits any more")???;
        assert_eq!(&answer, b"HTTP/1.1 429", "four are worked on, and the others are shed");
    }
    clients.shutdown().await;
    // Time to notice that the four have hung up, well within the 5 s for which Redis is waited for.
    pause(Duration::from_millis(300)).await;
    let is_shed = async || -> Result<bool> { Ok(world.member(&api, "late")?.ask("GONE").await.status == Some(429)) };
    assert!(is_shed().await?, "they have hung up, and are still worked on");
    way.restore().await?;
    eventually("they are done", SOON, async || Ok(!is_shed().await?)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a5_a_client_that_hangs_up_at_any_byte_leaves_no_reservation_unpublished() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("GONE", 10_000).await?;
    let api = without_relay(&world).await?;
    let length = request(&world, &api, "member-0000")?.len();
    let mut clients = JoinSet::new();
    for bytes in 1..=length + ANSWERED {
        let request = request(&world, &api, &format!("member-{bytes:04}"))?;
        let client = connect(&api).await?;
        clients.spawn(async move { hang_up_after(bytes, client, &request).await });
    }
    clients.join_all().await;
    eventually("the outbox is empty", SOON, async || -> Result<bool> {
        Ok(world.stock.of("GONE").await?.outbox.is_empty())
    })
    .await?;
    let stock = world.stock.of("GONE").await?;
    let reserved: Vec<Uuid> = stock.issued.keys().filter_map(|member| stock.holder_of(member)).collect();
    assert!(reserved.len() >= ANSWERED, "who has read a part of the answer has a reservation");
    published(&world, &reserved, Duration::from_secs(5)).await
}

/// Sends so many bytes of the request; beyond its end, reads the rest of them from the answer.
async fn hang_up_after(bytes: usize, mut client: TcpStream, request: &[u8]) -> Result<()> {
    client.write_all(&request[..bytes.min(request.len())]).await?;
    let mut answer = vec![0; bytes.saturating_sub(request.len())];
    client.read_exact(&mut answer).await?;
    Ok(())
}

async fn connect(api: &Process) -> Result<TcpStream> {
    let address = api.http_url()?.trim_start_matches("http://");
    Ok(TcpStream::connect(address).await?)
}

fn request(world: &World, api: &Process, member: &str) -> Result<Vec<u8>> {
    let token = world.signer.token(member).sign()?;
    let host = api.http_url()?.trim_start_matches("http://");
    let lines = format!(
        "POST /api/v1/coupons/GONE/issues HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    Ok(lines.into_bytes())
}
