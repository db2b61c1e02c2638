//! A Redis Cluster: campaigns on all shards, a slot that moves under load, a master that is killed, a slot without a master.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{process::Process, servers::redis::OwnRedis, wait::eventually, world::World};

use crate::{
    SOON, Services,
    crowd::Crowd,
    issued, issued_rows,
    rebuild::{rebuild, status},
    write::accepted,
};

/// Between two keys of a slot that moves, so that members ask while a campaign is torn in two.
const BETWEEN_KEYS: Duration = Duration::from_millis(200);
/// Over which sales are counted: nothing tells that somebody is still served.
const SALES_PERIOD: Duration = Duration::from_millis(300);

const FAILED_OVER_WITHIN: Duration = Duration::from_secs(30);
/// Codes that lie on all thirds of the slots: 6361, 14871, 1711, 14565, 11114 and 3106.
const CODES: [&str; 6] = ["ALPHA", "BRAVO", "CHARLIE", "DELTA", "ECHO", "FOXTROT"];

struct Clustered {
    world: World,
    nodes: Vec<OwnRedis>,
}

impl Clustered {
    async fn start(masters: usize, replicas: usize) -> Result<Self> {
        let nodes = OwnRedis::cluster(masters, replicas).await?;
        let mut world = World::new().await?;
        world.redis_settings = vec![("url", nodes[0].url()), ("cluster", "true".to_owned())];
        Ok(Self { world, nodes })
    }

    /// The node that has the keys of a hash tag, as one that lives knows it, and the slot.
    async fn master_of(&self, tag: &str, asked: &OwnRedis) -> Result<(&OwnRedis, i64)> {
        let slot: i64 = asked.ask(&["CLUSTER", "KEYSLOT", tag]).await?;
        let lines: String = asked.ask(&["CLUSTER", "NODES"]).await?;
        let has = |line: &&str| {
            line.contains("master")
                && !line.contains("fail")
                && line
                    .split(' ')
                    .skip(8)
                    .filter_map(|range| {
                        let (first, last) = range.split_once('-').unwrap_or((range, range));
                        Some((first.parse::<i64>().ok()?, last.parse::<i64>().ok()?))
                    })
                    .any(|(first, last)| (first..=last).contains(&slot))
        };
        let line = lines.lines().find(has).context("a master of the slot")?;
        let node = self.nodes.iter().find(|node| line.contains(&format!(":{}@", node.port())));
        Ok((node.context("one of the nodes")?, slot))
    }

    /// Moves the keys of a tag's slot to another node as `redis-cli --cluster reshard` does, without haste, and runs `half_way`
    /// while the slot is not yet said to be there.
    async fn reshard(&self, tag: &str, to: &OwnRedis, half_way: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let (from, slot) = self.master_of(tag, to).await?;
        let (from_id, to_id): (String, String) =
            (from.ask(&["CLUSTER", "MYID"]).await?, to.ask(&["CLUSTER", "MYID"]).await?);
        let slot = slot.to_string();
        let _: String = to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await?;
        let _: String = from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await?;
        let port = to.port().to_string();
        loop {
            let keys: Vec<String> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1"]).await?;
            let Some(key) = keys.first() else { break };
            let _: String = from.ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await?;
            tokio::time::sleep(BETWEEN_KEYS).await;
        }
        half_way().await?;
        for node in [to, from] {
            let _: String = node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await?;
        }
        Ok(())
    }

    async fn agrees(&self, code: &str) -> Result<()> {
        let found = self.world.run("dlq-consumer", &["reconcile", code, "--wait", "30", "--by", "olga"]).await?;
        ensure!(found.code == Some(0), "{code}: {found:?}");
        Ok(())
    }
}

async fn serves(world: &World, api: &Process, code: &str, who: &str) -> Result<()> {
    eventually(&format!("{code} is served"), FAILED_OVER_WITHIN, async || -> Result<bool> {
        if status(world, code).await? == "SUSPECT" {
            rebuild(world, code).await?.succeeded()?;
        }
        Ok(world.member(api, who)?.ask(code).await.is_held())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn campaigns_on_three_shards_survive_a_resharding_and_a_killed_master_under_load() -> Result<()> {
    let clustered = Clustered::start(3, 1).await?;
    let world = &clustered.world;
    for code in CODES {
        world.open_campaign(code, 10_000).await?;
    }
    let services = Services::start(world).await?;
    let mut owners = Vec::new();
    for code in CODES {
        accepted(world, &services.api, code, "somebody").await?;
        owners.push(clustered.master_of(code, &clustered.nodes[0]).await?.0.port());
    }
    let distinct: std::collections::BTreeSet<_> = owners.iter().collect();
    ensure!(distinct.len() == 3, "the codes lie on {owners:?}");
    let listed = world.coupon(&["list"]).await?.succeeded()?;
    ensure!(CODES.iter().all(|code| listed.contains(code)), "{listed}");

    // The slot moves, key by key, to a node of another campaign, and later so does the list of campaigns.
    let moving = CODES[0];
    let other = owners.iter().position(|port| *port != owners[0]).context("another shard")?;
    let to = clustered.nodes.iter().find(|node| node.port() == owners[other]).context("its node")?;
    let crowd = Crowd::ask(world, &[&services.api], moving)?;
    crowd.sold_more(30).await?;
    let before = world.answers.read().len();
    clustered
        .reshard(moving, to, async || {
            // All keys are at the other node, which only answers who asks there.
            let found = world.run("dlq-consumer", &["find", "--member", "somebody", "--output", "json"]).await?;
            let found: serde_json::Value = serde_json::from_str(&found.succeeded()?)?;
            let holds =
                |code| found["holders"].as_array().is_some_and(|all| all.iter().any(|one| one["coupon_code"] == code));
            ensure!(CODES.into_iter().all(holds), "{found}");
            Ok(())
        })
        .await?;
    crowd.sold_more(30).await?;
    // A member who waits too long for the slot is told 503, and to ask again; nobody is refused for good.
    let refused =
        world.answers.read().into_iter().skip(before).find(|answer| !answer.is_held() && answer.status != Some(503));
    ensure!(refused.is_none(), "somebody was refused and not only kept waiting: {refused:?}");
    let (home, _) = clustered.master_of("coupons", to).await?;
    let elsewhere = clustered.nodes.iter().find(|node| owners.contains(&node.port()) && node.port() != home.port());
    clustered.reshard("coupons", elsewhere.context("another master")?, async || Ok(())).await?;
    crowd.sold_more(30).await?;

    // The master that has the moved campaign now is killed: its replica takes over.
    to.kill()?;
    let witness = clustered.nodes.iter().find(|node| node.port() != to.port()).context("another node")?;
    eventually("the campaign is served by another master, or shut", FAILED_OVER_WITHIN, async || -> Result<bool> {
        let before = crowd.sold();
        tokio::time::sleep(SALES_PERIOD).await;
        Ok(status(world, moving).await? == "SUSPECT" || crowd.sold() > before + 3)
    })
    .await?;
    for code in CODES {
        serves(world, &services.api, code, "after").await?;
    }
    crowd.sold_more(30).await?;
    crowd.go_home().await?;
    let (now, _) = clustered.master_of(moving, witness).await?;
    ensure!(now.port() != to.port());
    for code in CODES {
        clustered.agrees(code).await?;
        ensure!(issued(world, code).await? >= 2, "{code}");
    }
    let ready = async || services.api.admin_status("/readyz").await == Some(200);
    eventually("it is ready", SOON, ready).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_a_cluster_that_is_behind_and_takes_over_accepts_nothing_until_a_rebuild() -> Result<()> {
    let clustered = Clustered::start(3, 1).await?;
    let world = &clustered.world;
    // On the last shard: `redis.url` names a node of the first, which stays.
    let code = "BRAVO";
    world.open_campaign(code, 60).await?;
    let services = Services::start(world).await?;
    // One after the other and so many: a crowd may have them all before its replica is cut off.
    for member in 0..10 {
        accepted(world, &services.api, code, &format!("early-{member}")).await?;
    }
    let (master, _) = clustered.master_of(code, &clustered.nodes[0]).await?;
    ensure!(master.port() != clustered.nodes[0].port());
    // Its replica may not log in any more, and misses what follows.
    for node in clustered.nodes.iter().filter(|node| node.port() != master.port()) {
        let _: String = node.ask(&["CONFIG", "SET", "masteruser", "nobody"]).await?;
        let _: String = node.ask(&["CONFIG", "SET", "masterauth", "nothing"]).await?;
    }
    let _: i64 = master.ask(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
    for member in 0..20 {
        accepted(world, &services.api, code, &format!("unseen-{member}")).await?;
    }
    master.hang()?;
    let crowd = Crowd::ask(world, &[&services.api], code)?;
    eventually("the campaign is suspect", FAILED_OVER_WITHIN, async || -> Result<bool> {
        Ok(status(world, code).await? == "SUSPECT")
    })
    .await?;
    crowd.hears("members are told to come back", SOON, |answer| answer.status == Some(503)).await?;
    rebuild(world, code).await?.succeeded()?;
    crowd.hears("all are sold", SOON * 2, |answer| answer.is_refused_as(409, "SOLD_OUT")).await?;
    crowd.go_home().await?;
    issued_rows(world, code, 60, SOON).await?;
    clustered.agrees(code).await?;
    master.kill()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_a_slot_that_has_no_master_is_named_and_so_is_a_server_that_is_no_cluster() -> Result<()> {
    let clustered = Clustered::start(3, 0).await?;
    let doctor = async |words: &[&str]| -> Result<()> {
        let doctor = clustered.world.run("issuer-api", &["doctor"]).await?;
        ensure!(doctor.code == Some(1) && words.iter().all(|word| doctor.stdout.contains(word)), "{doctor:?}");
        Ok(())
    };
    clustered.world.run("issuer-api", &["doctor"]).await?.succeeded()?;
    let (_, slot) = clustered.master_of("ALPHA", &clustered.nodes[0]).await?;
    for node in &clustered.nodes {
        let _: String = node.ask(&["CLUSTER", "DELSLOTS", &slot.to_string()]).await?;
    }
    let missing = format!("slots {slot} to {slot} of the cluster have no master");
    eventually("the slot is named", SOON, async || doctor(&[missing.as_str(), "--cluster check"]).await.is_ok())
        .await?;
    let alone = OwnRedis::start(&[]).await?;
    let url = alone.url();
    let doctor = clustered.world.run_with("issuer-api", &["doctor"], &[("ISSUER_API__REDIS__URL", &url)]).await?;
    ensure!(doctor.code == Some(1) && doctor.stdout.contains("redis.cluster = false"), "{doctor:?}");
    Ok(())
}
