//! Redis behind Sentinels: fail-overs under load, with nothing lost and with something lost.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    servers::{Servers, redis::OwnRedis},
    wait::eventually,
    world::{Setup, World},
};

use crate::{
    SOON, Services,
    crowd::Crowd,
    issued_rows,
    rebuild::{rebuild, status},
};

/// Over which sales are counted: nothing tells that somebody is still served.
const SALES_PERIOD: Duration = Duration::from_millis(300);

/// Within which members are served again once a master is gone: a second until it is missed, the votes, the new connection.
const FAILED_OVER_WITHIN: Duration = Duration::from_secs(30);
const PASSWORD: &str = "of-the-sentinels";

struct Watched {
    world: World,
    master: OwnRedis,
    replica: OwnRedis,
    sentinels: Vec<OwnRedis>,
}

impl Watched {
    /// A master, a replica that logs in as `repl`, three Sentinels, and a world whose processes ask them.
    async fn start() -> Result<Self> {
        let user = ["--user", "repl", "on", ">of the replica", "~*", "&*", "+@all"];
        let master = OwnRedis::start(&[&user[..], &["--repl-diskless-sync-delay", "0"]].concat()).await?;
        let replica = OwnRedis::following(&master, &["--masteruser", "repl", "--masterauth", "of the replica"]).await?;
        let sentinels = OwnRedis::sentinels(&master, PASSWORD).await?;
        let servers = Servers { redis_url: master.url(), ..Servers::from_env()? };
        let mut world = World::with(Setup::on(&servers)).await?;
        let file = world.folder().join("sentinel.password");
        std::fs::write(&file, format!("{PASSWORD}\n"))?;
        let addresses: Vec<String> =
            sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        // The host and the port of the URL lead nowhere: the Sentinels name the master.
        let database = world.redis_url.rsplit('/').next().unwrap_or("0").to_owned();
        world.redis_settings = vec![
            ("url", format!("redis://127.0.0.1:1/{database}")),
            ("sentinel.addresses", addresses.join(",")),
            ("sentinel.master", "coupon".to_owned()),
            ("sentinel.password_file", file.display().to_string()),
        ];
        Ok(Self { world, master, replica, sentinels })
    }

    /// The same world, looking at the promoted replica itself.
    async fn moved(&mut self) -> Result<()> {
        let from = format!(":{}/", self.master.port());
        self.world.redis_url = self.world.redis_url.replace(&from, &format!(":{}/", self.replica.port()));
        self.world.stock = coupon_e2e::stock::Stock::connect(&self.world.redis_url).await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_killed_under_load_is_replaced_by_the_one_thesentinels_name_and_every_promise_holds() -> Result<()> {
    let mut watched = Watched::start().await?;
    watched.world.open_campaign("FAILOVER", 100_000).await?;
    let services = Services::start(&watched.world).await?;
    let crowd = Crowd::ask(&watched.world, &[&services.api], "FAILOVER")?;
    crowd.sold_more(50).await?;
    watched.master.kill()?;
    eventually("the gate is shut or members are served", FAILED_OVER_WITHIN, async || -> Result<bool> {
        let before = crowd.sold();
        tokio::time::sleep(SALES_PERIOD).await;
        Ok(crowd.sold() > before + 5 || status(&watched.world, "FAILOVER").await? == "SUSPECT")
    })
    .await?;
    // What the master had answered may not have reached the replica: then the sequence has shut the gate.
    if status(&watched.world, "FAILOVER").await? == "SUSPECT" {
        rebuild(&watched.world, "FAILOVER").await?.succeeded()?;
    }
    crowd.sold_more(50).await?;
    crowd.go_home().await?;
    watched.moved().await?;
    watched.world.quiet(SOON * 2, &[]).await?;
    let ready = async || services.api.admin_status("/readyz").await == Some(200);
    eventually("it is ready", SOON, ready).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_behind_and_promoted_by_thesentinels_accepts_nothing_until_a_rebuild() -> Result<()> {
    let mut watched = Watched::start().await?;
    watched.world.open_campaign("BEHIND", 60).await?;
    let services = Services::start(&watched.world).await?;
    let crowd = Crowd::ask(&watched.world, &[&services.api], "BEHIND")?;
    crowd.sold_more(10).await?;
    // The replica may not log in any more, and misses what follows.
    let _: String = watched.master.ask(&["ACL", "SETUSER", "repl", "off"]).await?;
    let _: i64 = watched.master.ask(&["CLIENT", "KILL", "TYPE", "replica"]).await?;
    crowd.sold_more(20).await?;
    // The master hangs, and keeps the connections of all who wait for its answers.
    watched.master.hang()?;
    eventually("the campaign is suspect", FAILED_OVER_WITHIN, async || -> Result<bool> {
        Ok(status(&watched.world, "BEHIND").await? == "SUSPECT")
    })
    .await?;
    crowd.hears("members are told to come back", SOON, |answer| answer.status == Some(503)).await?;
    rebuild(&watched.world, "BEHIND").await?.succeeded()?;
    crowd.hears("all are sold", SOON * 2, |answer| answer.is_refused_as(409, "SOLD_OUT")).await?;
    crowd.go_home().await?;
    watched.moved().await?;
    issued_rows(&watched.world, "BEHIND", 60, SOON).await?;
    watched.world.quiet(SOON * 2, &[]).await?;
    // What cleans up behind the world asks it, too.
    watched.master.kill()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_that_knows_no_master_or_refuses_its_password_is_named_with_its_setting() -> Result<()> {
    let mut watched = Watched::start().await?;
    let good = watched.world.redis_settings.clone();
    for (key, value, words) in [
        ("sentinel.master", "another", "knows no master of that name"),
        ("sentinel.password_file", "", "NOAUTH"),
        ("sentinel.addresses", "127.0.0.1:1", "Connection refused"),
    ] {
        watched.world.redis_settings = good.clone();
        watched.world.redis_settings.push((key, value.to_owned()));
        let doctor = watched.world.run("issuer-api", &["doctor"]).await?;
        let said = format!("{}{}", doctor.stdout, doctor.stderr);
        let line = said.lines().find(|line| line.contains("FAIL") && line.contains("redis"));
        let whole = line.is_some_and(|line| line.contains(words) || said.contains(words));
        ensure!(doctor.code == Some(1) && whole && said.contains("redis.sentinel.master"), "{key}: {said}");
        ensure!(!said.contains(PASSWORD), "{said}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sentinel_given_as_the_server_itself_is_called_one_with_the_setting_it_belongs_into() -> Result<()> {
    let mut watched = Watched::start().await?;
    let sentinel = watched.sentinels[0].port();
    // The first database needs no SELECT, which Sentinels do not have.
    for (database, words) in [("", "this is a Sentinel"), ("/3", "this may be a Sentinel")] {
        watched.world.redis_settings = vec![("url", format!("redis://:{PASSWORD}@127.0.0.1:{sentinel}{database}"))];
        for binary in ["issuer-api", "dlq-consumer"] {
            let doctor = watched.world.run(binary, &["doctor"]).await?;
            let line = doctor.stdout.lines().find(|line| line.starts_with("FAIL") && line.contains(words));
            ensure!(line.is_some_and(|line| line.contains("redis.sentinel.addresses")), "{binary}: {doctor:?}");
            ensure!(doctor.code == Some(1) && !doctor.stdout.contains(PASSWORD), "{doctor:?}");
        }
    }
    watched.world.redis_settings = vec![("url", format!("redis://:{PASSWORD}@127.0.0.1:{sentinel}"))];
    let api = watched.world.start_api().without_waiting().await?;
    ensure!(api.exit(SOON).await?.code() == Some(1));
    api.wait_for_log("why", SOON, |line| line.text.contains("this is a Sentinel")).await?;
    Ok(())
}
