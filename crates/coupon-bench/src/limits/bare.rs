//! HTTP and the check of the token alone: `coupon-bench bare` under the load that `issuer-api` gets.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{wait::eventually, world::World};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use super::Limit;
use crate::{
    load::{Load, Outcome, Requests},
    measure::{spread::each_us, usage},
    progress,
};

/// Length of the probe that says how many requests to prepare; it also warms everything up.
pub const PROBE_SECONDS: f64 = 0.5;

/// Requests of the short run before the measurement.
pub const PROBE_REQUESTS: usize = 20_000;

/// The limit, and the CPU time of the process for each request.
pub async fn measure(world: &World, seconds: f64) -> Result<Limit> {
    let _running = progress::step("HTTP and token alone");
    let bare = Bare::start(world).await?;
    let probe = bare.load(world, 0, PROBE_REQUESTS, PROBE_SECONDS).await?;
    let before = bare.cpu_ms()?;
    let outcome = bare.load(world, PROBE_REQUESTS, enough(&probe, seconds), seconds).await?;
    let used = bare.cpu_ms()? - before;
    Ok(Limit {
        per_second: outcome.per_second(200),
        caller_cpu_us: each_us(outcome.cpu_ms, outcome.records.len() as u64),
        server_cpu_us: each_us(used, outcome.records.len() as u64),
    })
}

/// Requests for so many seconds: half as many more as the probe lets expect.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of requests are small")]
pub fn enough(probe: &Outcome, seconds: f64) -> usize {
    (probe.answers_per_second() * seconds * 1.5) as usize + 1000
}

/// Returns a loopback address whose port is free at this moment.
pub fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The process; it is killed when this is dropped.
struct Bare {
    child: Child,
    address: SocketAddr,
}

impl Bare {
    async fn start(world: &World) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
        command.args(["bare", "--listen", &address.to_string(), "--issuer", world.signer.issuer()]);
        let algorithm = format!("{:?}", world.signer.algorithm());
        command.args(["--audience", world.signer.audience(), "--algorithm", &algorithm]);
        command.arg("--key-file").arg(world.secret_file());
        let child =
            command.stdin(Stdio::null()).kill_on_drop(true).spawn().context("coupon-bench bare does not start")?;
        let bare = Self { child, address };
        let answers = async || TcpStream::connect(address).await.is_ok();
        eventually("coupon-bench bare listens", Duration::from_secs(10), answers).await?;
        Ok(bare)
    }

    async fn load(&self, world: &World, first: usize, count: usize, seconds: f64) -> Result<Outcome> {
        let requests = Requests::make(&world.signer, &self.address.to_string(), "LIMIT", first, count)?;
        let outcome = Load::capacity(self.address, requests, seconds).run().await?;
        ensure!(outcome.count(200) == outcome.asked, "bare answered {}", outcome.statuses());
        Ok(outcome)
    }

    fn cpu_ms(&self) -> Result<u64> {
        let running = self.child.id().and_then(|pid| usage::cpu_ms(pid).ok());
        running.context("coupon-bench bare has ended")
    }
}
