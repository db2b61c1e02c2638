//! What an issuer-api at rest asks of Redis, by what Redis counts.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    process::Process,
    servers::{
        private::{PrivateServers, Server},
        redis::OwnRedis,
    },
    stock::key,
    wait::{eventually, pause},
    world::{Setup, World},
};
use tokio::io::AsyncWriteExt;

use crate::{SOON, accept::published, sick_replica::reserved};

/// Over which commands are counted: nothing tells that somebody is at rest. Twice the longest period of what is counted.
const PERIOD: Duration = Duration::from_secs(10);
/// Commands by which two such counts of the same may differ: a probe of eleven, and one more of everything else.
const JITTER: u64 = 40;

/// Makes campaigns like `REST-0`, which is open, in PostgreSQL, and returns the commands that make their data in Redis.
async fn copies(world: &World, numbers: std::ops::Range<usize>, meta: &BTreeMap<String, String>) -> Result<String> {
    let copy = "INSERT INTO coupons (coupon_code, status, total_quantity, total_version, opens_at, valid_days, epoch)
                SELECT 'REST-' || number, status, total_quantity, total_version, opens_at, valid_days, epoch
                FROM coupons, generate_series($1::int, $2::int) number WHERE coupon_code = 'REST-0'";
    let (first, last) = (i32::try_from(numbers.start)?, i32::try_from(numbers.end)? - 1);
    sqlx::query(copy).bind(first).bind(last).execute(&world.db).await?;
    let fields: Vec<String> = meta.iter().map(|(field, value)| format!("{field} {value}")).collect();
    let fields = fields.join(" ");
    let made = numbers.map(|number| format!("REST-{number}"));
    let commands = made.map(|code| format!("HSET {} {fields}\nSADD coupons {code}\n", key(&code, "meta")));
    Ok(commands.collect::<Vec<_>>().concat())
}

/// Sends commands to a server, or to the nodes of its cluster that have the keys.
async fn send(port: u16, commands: &str) -> Result<()> {
    let mut client = tokio::process::Command::new("redis-cli")
        .args(["-c", "-p", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = client.stdin.take().context("a pipe")?;
    let writing = async {
        input.write_all(commands.as_bytes()).await?;
        drop(input);
        anyhow::Ok(())
    };
    let (written, output) = tokio::join!(writing, client.wait_with_output());
    written?;
    let answers = String::from_utf8(output?.stdout)?;
    ensure!(!answers.to_lowercase().contains("err"), "{answers}");
    Ok(())
}

/// Passes of the relay, each of which takes up which campaigns there are.
async fn passes(api: &Process, more: f64) -> Result<()> {
    let before = api.metric("coupon_relay_passes_total", "").await?.unwrap_or_default();
    eventually("the relay makes passes", SOON * 2, async || -> Result<bool> {
        Ok(api.metric("coupon_relay_passes_total", "").await? >= Some(before + more))
    })
    .await
}

/// The commands that a server counts, by `INFO commandstats`.
fn counted(stats: &str) -> BTreeMap<String, u64> {
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse::<u64>().ok()?))
    };
    let of_test = |name: &str| name.starts_with("info") || name.starts_with("config");
    stats.lines().filter_map(count).filter(|(name, _)| !of_test(name)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_at_rest_asks_redis_for_two_hundred_campaigns_as_much_as_for_one() -> Result<()> {
    let private = PrivateServers::start(&[Server::Redis]).await?;
    let world = World::with(Setup::on(private.servers())).await?;
    world.open_campaign("REST-0", 10).await?;
    let api = world.start_api().set("telemetry.campaigns", 1).await?;
    let at_rest = async || -> Result<BTreeMap<String, u64>> {
        passes(&api, 6.0).await?;
        let mut redis = world.stock.redis();
        let _: () = redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut redis).await?;
        pause(PERIOD).await;
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await?;
        Ok(counted(&stats))
    };
    let one = at_rest().await?;
    let meta = world.stock.of("REST-0").await?.meta;
    copies(&world, 1..200, &meta).await?;
    let fields: Vec<(&str, &str)> = meta.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect();
    for number in 1..200 {
        world.stock.set_meta(&format!("REST-{number}"), &fields).await?;
    }
    let many = at_rest().await?;
    println!("one: {one:?}\nmany: {many:?}");
    let sum = |counted: &BTreeMap<String, u64>| counted.values().sum::<u64>();
    ensure!(one.contains_key("evalsha") && sum(&many) <= sum(&one) + JITTER, "{one:?}, but {many:?}");

    // And what waits in one of them is found.
    let dies = world.start_api().set("kafka.properties.linger.ms", 60_000).set("outbox.min_age_ms", 60_000).await?;
    let ids = reserved(&world, &dies, "REST-150", 2).await?;
    dies.kill();
    published(&world, &ids, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_at_rest_asks_a_cluster_a_bounded_number_of_questions_and_finds_what_waits_on_each_shard() -> Result<()>
{
    let nodes = OwnRedis::cluster(3, 0).await?;
    let mut world = World::new().await?;
    world.redis_settings = vec![("url", nodes[0].url()), ("cluster", "true".to_owned())];
    world.open_campaign("REST-0", 100).await?;
    let mut meta = BTreeMap::new();
    for node in &nodes {
        let found: Result<BTreeMap<String, String>> = node.ask(&["HGETALL", &key("REST-0", "meta")]).await;
        meta.extend(found.unwrap_or_default());
    }
    send(nodes[0].port(), &copies(&world, 1..300, &meta).await?).await?;
    let api = world.start_api().set("telemetry.campaigns", 1).await?;
    passes(&api, 6.0).await?;
    for node in &nodes {
        let _: () = node.ask(&["CONFIG", "RESETSTAT"]).await?;
    }
    pause(PERIOD).await;
    let mut questions = 0;
    for node in &nodes {
        let stats: String = node.ask(&["INFO", "commandstats"]).await?;
        questions += counted(&stats).get("evalsha").copied().unwrap_or_default();
    }
    println!("questions: {questions}");
    // A hundred in each pass of one second, and the probe of each second.
    ensure!((100..=PERIOD.as_secs() * 101 + 100 + JITTER).contains(&questions), "{questions} in {PERIOD:?}");

    let dies = world.start_api().set("kafka.properties.linger.ms", 60_000).set("outbox.min_age_ms", 60_000).await?;
    let mut ids = Vec::new();
    for code in ["REST-1", "REST-2", "REST-3", "REST-4", "REST-5", "REST-298", "REST-299"] {
        ids.extend(reserved(&world, &dies, code, 1).await?);
    }
    dies.kill();
    published(&world, &ids, SOON).await
}
