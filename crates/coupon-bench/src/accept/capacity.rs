//! What `issuer-api` accepts when nothing else runs.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{process::Process, world::World};

use super::{CODE, PLENTY, promises};
use crate::{
    environment::Environment,
    limits::{
        Limits,
        bare::{PROBE_REQUESTS, PROBE_SECONDS, enough},
        table::Collected,
    },
    load::{Load, Outcome, Requests},
    measure::{
        commands::Commands,
        servers::Machines,
        spread::{as_f64, each_us},
    },
    progress,
    tokens::start_api,
};

/// What was accepted is acknowledged and forgotten by the outbox within this; its CPU time belongs to the run.
const SETTLING_PAUSE: Duration = Duration::from_millis(300);

/// Measures on a fresh world, lets everything be written, and checks every promise.
pub async fn measure(
    environment: &Environment,
    seconds: f64,
    limits: &Limits,
    collected: &mut Collected,
) -> Result<()> {
    let (machines, world) = (Machines::find(environment), environment.world().await?);
    world.open_campaign(CODE, PLENTY).await?;
    let api = start_api(&world).await?;
    let running = progress::step("issuer-api at full load");
    let (requests, address) = prepare(&world, &api, seconds).await?;
    let mut redis = world.stock.redis();
    let (counted, before) = (Commands::read(&mut redis).await?, machines.cpu(&[("api", &api)])?);
    let outcome = Load::capacity(address, requests, seconds).run().await?;
    tokio::time::sleep(SETTLING_PAUSE).await;
    let used = machines.cpu(&[("api", &api)])?.since(&before);
    let counted = Commands::read(&mut redis).await?.since(&counted);
    running.finish_and_clear();
    log(&world, &outcome);
    accepted_all(&outcome)?;

    let (per_second, limit, accepted) = (outcome.per_second(202), limits.together(), outcome.count(202));
    collected.put("accept.per_second", per_second);
    collected.put("accept.limit_per_second", limit);
    collected.put("accept.ratio", per_second / limit);
    collected.put_cpu("accept", &used, outcome.cpu_ms, accepted);
    collected.put("accept.http_cpu_ratio", each_us(used.of("api"), accepted as u64) / limits.http.server_cpu_us);
    // Of scripts the whole time, with what they call. The deletion is a command of its own, which no script of this run calls.
    let micros = counted.of("evalsha").micros + counted.of("zrem").micros;
    collected.put("accept.redis_time_us", as_f64(micros) / as_f64(accepted as u64));
    remark("accept.per_second", &outcome, 202, collected);

    let _consumers = (world.start_issue_consumer().await?, world.start_dlq_consumer().await?);
    promises::hold(&world).await?;
    Ok(())
}

/// Probes, and prepares as many requests as such a run can need at most.
pub async fn prepare(world: &World, api: &Process, seconds: f64) -> Result<(Requests, SocketAddr)> {
    let address = address(api)?;
    let host = address.to_string();
    let requests = Requests::make(&world.signer, &host, CODE, 0, PROBE_REQUESTS)?;
    let probe = Load::capacity(address, requests, PROBE_SECONDS).run().await?;
    log(world, &probe);
    accepted_all(&probe)?;
    Ok((Requests::make(&world.signer, &host, CODE, PROBE_REQUESTS, enough(&probe, seconds))?, address))
}

/// Returns the address of the members' listener of an `issuer-api`.
pub fn address(api: &Process) -> Result<SocketAddr> {
    let url = api.http_url()?;
    url.trim_start_matches("http://").parse().with_context(|| format!("{url} is no address"))
}

/// Adds all answers of a run to the world's answer log, which the oracle reads.
pub fn log(world: &World, outcome: &Outcome) {
    for answer in outcome.answers() {
        world.answers.write(answer);
    }
}

/// A run in which a hundredth was not accepted says nothing of accepting. What a single one was told is in the remarks;
/// whether it lost something is for the oracle to say.
pub fn accepted_all(outcome: &Outcome) -> Result<()> {
    let enough = outcome.asked - outcome.count(202) <= outcome.asked / 100;
    ensure!(enough, "members without a coupon asked for one of plenty, and the answers were {}", outcome.statuses());
    Ok(())
}

/// Remarks on a figure what must be known of its run: a client at the end of its strength has measured itself, and a
/// request with another answer than the rest (`status`) has cost something else.
pub fn remark(id: &str, outcome: &Outcome, status: u16, collected: &mut Collected) {
    if outcome.count(status) != outcome.asked {
        collected.remark(id, format!("not all answers were alike: {}", outcome.statuses()));
    }
    if outcome.busy() > 0.9 {
        let percent = outcome.busy() * 100.0;
        collected
            .remark(id, format!("the load generator was busy {percent:.0} % of its core: this may be its own limit"));
    }
}
