//! What a run runs on: servers of its own, two processes of each service with ways of their own, four clients' ways.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Result;
use chrono::Utc;
use serde_json::json;
use tokio::sync::RwLock;

use super::kept::Kept;
use crate::{
    process::{Process, launch::Launch},
    proxy::Proxy,
    servers::private::{PrivateServers, Server},
    stock::Stock,
    wait::eventually,
    webhook::Webhook,
    world::{Setup, World},
};

/// Number of clients, each with a way to one `issuer-api`.
pub(super) const CLIENTS: usize = 4;
/// Number of processes: two of each service. Those with an even number live through the whole run, so that what grows can
/// be seen; the others are killed and restarted.
pub(super) const SLOTS: usize = 6;
/// Longest time until a server that was killed is there again.
const BACK_WITHIN: Duration = Duration::from_mins(2);
/// 32 bytes in Base64, with which the messages to the shop are signed.
const SECRET: &str = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";

/// The ways of one process to its servers.
#[derive(Debug)]
pub(super) struct Ways {
    pub(super) database: Proxy,
    pub(super) redis: Proxy,
}

/// Dropped in this order: the world needs its servers to clean up.
#[derive(Debug)]
pub(super) struct Fleet {
    slots: [RwLock<Option<Process>>; SLOTS],
    unasked_exits: AtomicUsize,
    pub(super) ways: Vec<Ways>,
    pub(super) clients: Vec<Proxy>,
    /// Takes the alarms.
    pub(super) slack: Webhook,
    /// Takes what happens to campaigns.
    pub(super) shop: Webhook,
    pub(super) world: World,
    pub(super) private: PrivateServers,
}

impl Fleet {
    pub(super) async fn start() -> Result<Self> {
        let private = PrivateServers::start(&[Server::Postgres, Server::Redis, Server::Kafka]).await?;
        let world = World::with(Setup::on(private.servers())).await?.publishing_decisions();
        if let Some(topic) = &world.decisions {
            topic.create(4, &[]).await?;
        }
        fs::write(world.folder().join("shop.key"), SECRET)?;
        let (mut ways, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..SLOTS {
            let (database, redis) = (Proxy::before(&world.database_url).await?, Proxy::before(&world.redis_url).await?);
            ways.push(Ways { database, redis });
        }
        for _ in 0..CLIENTS {
            // Led to a process as soon as it is started.
            clients.push(Proxy::before("http://127.0.0.1:9").await?);
        }
        let (slack, shop) = (Webhook::start().await?, Webhook::start().await?);
        let (slots, unasked_exits) = (Default::default(), AtomicUsize::new(0));
        let fleet = Self { slots, unasked_exits, ways, clients, slack, shop, world, private };
        fleet.keep_redis_whole().await?;
        for slot in 0..SLOTS {
            fleet.put(slot, fleet.launch(slot).await?).await?;
        }
        Ok(fleet)
    }

    fn launch(&self, slot: usize) -> Launch {
        let (world, ways) = (&self.world, &self.ways[slot]);
        let launch = match slot / 2 {
            0 => world.start_api(),
            1 => world.start_issue_consumer(),
            _ => world
                .start_dlq_consumer()
                .env("DLQ_CONSUMER__ALARMS__SLACK_WEBHOOK_URL", self.slack.url())
                .env("DLQ_CONSUMER__WEBHOOKS__ENDPOINTS__SHOP__URL", self.shop.url())
                .set("webhooks.endpoints.shop.secret_files", world.folder().join("shop.key").display())
                .set("webhooks.endpoints.shop.allow_private", true)
                // What is left untold when the faults end has to be told within the time to converge.
                .set("alarms.digest_ms", 5_000)
                .set("alarms.timeout_ms", 1_000),
        };
        launch.database_through(&ways.database).redis_through(&ways.redis).kafka_through(self.private.way_to_kafka())
    }

    async fn put(&self, slot: usize, process: Process) -> Result<()> {
        if slot / 2 == 0 {
            for client in self.clients.iter().skip(slot).step_by(2) {
                client.lead_to(process.http_url()?).await?;
            }
        }
        *self.slots[slot].write().await = Some(process);
        Ok(())
    }

    /// Starts a process in the place of one that has ended, whatever its servers are like.
    pub(super) async fn start_again(&self, slot: usize) -> Result<()> {
        self.put(slot, self.launch(slot).spawn()?).await
    }

    /// Kills a process.
    pub(super) async fn kill(&self, slot: usize) {
        if let Some(process) = self.slots[slot].write().await.take() {
            process.kill();
        }
    }

    /// Asks a process to stop; one that takes longer than it may is killed, and `false`.
    pub(super) async fn terminate(&self, slot: usize) -> bool {
        let process = self.slots[slot].write().await.take();
        match process {
            Some(process) => process.terminate(Duration::from_secs(30)).await.is_ok_and(|status| status.success()),
            None => true,
        }
    }

    /// Freezes a process, or lets it go on.
    pub(super) async fn freeze(&self, slot: usize, is_frozen: bool) -> Result<()> {
        match &*self.slots[slot].read().await {
            Some(process) if is_frozen => process.stop(),
            Some(process) => process.cont(),
            None => Ok(()),
        }
    }

    pub(super) async fn pid(&self, slot: usize) -> Option<u32> {
        self.slots[slot].read().await.as_ref().map(Process::pid)
    }

    /// Starts again what has ended without being asked to, and counts it unless its port was taken.
    pub(super) async fn start_what_has_ended(&self, kept: &Kept) -> Result<()> {
        for slot in 0..SLOTS {
            let ended = match &*self.slots[slot].read().await {
                Some(process) if !process.is_running() => {
                    let status = process.exit(Duration::from_secs(1)).await?;
                    let last = process.log().iter().rev().take(5).map(|line| line.text.clone()).collect::<Vec<_>>();
                    Some((status.to_string(), last, process.log_contains("in use")))
                }
                _ => None,
            };
            if let Some((status, last, is_port_taken)) = ended {
                kept.line("faults.jsonl", &json!({"at": Utc::now(), "ended": slot, "status": status, "log": last}))?;
                self.unasked_exits.fetch_add(usize::from(!is_port_taken), Ordering::Relaxed);
                self.start_again(slot).await?;
            }
        }
        Ok(())
    }

    pub(super) fn unasked_exits(&self) -> usize {
        self.unasked_exits.load(Ordering::Relaxed)
    }

    /// Has Redis write each change to its file before it answers: a process that is killed then loses nothing that it has
    /// told. What happens when data is lost is a fault of its own.
    pub(super) async fn keep_redis_whole(&self) -> Result<()> {
        until_done("Redis takes its setting", async || {
            let mut redis = self.stock().await?.redis();
            let set = ["SET", "appendfsync", "always"];
            Ok(redis::cmd("CONFIG").arg(&set).exec_async(&mut redis).await?)
        })
        .await
    }

    /// Redis by a new connection, because those of before a kill are of no use.
    pub(super) async fn stock(&self) -> Result<Stock> {
        Stock::connect(&self.world.redis_url).await
    }
}

/// Tries until a step succeeds by which a fault ends.
pub(super) async fn until_done(what: &str, mut step: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    eventually(what, BACK_WITHIN, async || step().await.map(|()| true)).await
}
