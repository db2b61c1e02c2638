//! HTTP alone, and with the check of the token: `coupon-bench bare` under the load that `issuer-api` gets.

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

/// The limit with a check of each token, every member new, and the CPU time of the process for each request.
pub async fn measure(world: &World, seconds: f64) -> Result<Limit> {
    let _running = progress::step("HTTP and token alone");
    let bare = Bare::start(world, &[]).await?;
    bare.measure(seconds, |first, count| bare.requests(world, first, count)).await
}

/// The same without the check. The same members come again and again: to sign a token for each would take longer than all else.
pub async fn measure_unchecked(world: &World, seconds: f64) -> Result<Limit> {
    let _running = progress::step("HTTP alone");
    let bare = Bare::start(world, &["--unchecked"]).await?;
    let some = bare.requests(world, 0, PROBE_REQUESTS)?;
    bare.measure(seconds, |_, count| Ok(some.clone().repeated(count))).await
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

/// A server of this program as a process; it is killed when this is dropped.
pub struct Bare {
    child: Child,
    /// Address that it listens at.
    pub address: SocketAddr,
}

impl Bare {
    async fn start(world: &World, further: &[&str]) -> Result<Self> {
        Self::start_as("bare", world, further, &[]).await
    }

    /// Starts a subcommand that takes the arguments of `bare`, with further arguments and variables.
    pub async fn start_as(
        subcommand: &str,
        world: &World,
        further: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe().context("this program has no path")?);
        command.args([subcommand, "--listen", &address.to_string(), "--issuer", world.signer.issuer()]);
        command.envs(variables.iter().copied());
        let algorithm = format!("{:?}", world.signer.algorithm());
        command.args(["--audience", world.signer.audience(), "--algorithm", &algorithm]);
        command.arg("--key-file").arg(world.secret_file()).args(further);
        let child = command.stdin(Stdio::null()).kill_on_drop(true).spawn();
        let bare = Self { child: child.with_context(|| format!("coupon-bench {subcommand} does not start"))?, address };
        let answers = async || TcpStream::connect(address).await.is_ok();
        eventually("the server of coupon-bench listens", Duration::from_secs(10), answers).await?;
        Ok(bare)
    }

    fn requests(&self, world: &World, first: usize, count: usize) -> Result<Requests> {
        Requests::make(&world.signer, &self.address.to_string(), "LIMIT", first, count)
    }

    /// Probes, and measures with as many requests as that lets expect; `requests` makes them from the first member on.
    async fn measure(&self, seconds: f64, requests: impl Fn(usize, usize) -> Result<Requests>) -> Result<Limit> {
        let probe = self.load(requests(0, PROBE_REQUESTS)?, PROBE_SECONDS).await?;
        let requests = requests(PROBE_REQUESTS, enough(&probe, seconds))?;
        let before = self.cpu_ms()?;
        let outcome = self.load(requests, seconds).await?;
        let used = self.cpu_ms()? - before;
        Ok(Limit {
            per_second: outcome.per_second(200),
            caller_cpu_us: each_us(outcome.cpu_ms, outcome.records.len() as u64),
            server_cpu_us: each_us(used, outcome.records.len() as u64),
        })
    }

    async fn load(&self, requests: Requests, seconds: f64) -> Result<Outcome> {
        let outcome = Load::capacity(self.address, requests, seconds).run().await?;
        ensure!(outcome.count(200) == outcome.asked, "bare answered {}", outcome.statuses());
        Ok(outcome)
    }

    /// CPU time of the process so far, in ms.
    pub fn cpu_ms(&self) -> Result<u64> {
        let running = self.child.id().and_then(|pid| usage::cpu_ms(pid).ok());
        running.context("a server of coupon-bench has ended")
    }
}
