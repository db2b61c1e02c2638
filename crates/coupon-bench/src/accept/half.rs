//! Half load and less: how soon members have their answer and their row.

use anyhow::{Result, ensure};
use tokio::sync::mpsc::unbounded_channel;

use super::{CODE, capacity, chain::Stage, promises, rows};
use crate::{
    limits::table::Collected,
    load::{Load, Outcome, Requests, Samples, Schedule, quantile_ms},
    measure::servers::Machines,
    progress,
};

/// Every n-th accepted request is followed to its row.
const SAMPLED: usize = 20;

/// A steady load, by its stage in figures, for some seconds; members are numbered from `first`. Returns the number after the
/// last one.
pub async fn steady(
    stage: &Stage,
    machines: &Machines,
    first: usize,
    (name, rate, seconds): (&str, f64, f64),
    collected: &mut Collected,
) -> Result<usize> {
    let written_before = promises::written(&stage.world).await?;
    let before = stage.cpu(machines)?;
    let _running = progress::step(&format!("{name} load: {rate:.0} requests a second"));
    let (to, samples) = unbounded_channel();
    let looking = tokio::spawn(rows::follow(stage.world.db.clone(), samples));
    let mut load = prepare(stage, first, Schedule::steady(rate, seconds))?;
    load.samples = Some(Samples { every: SAMPLED, to });
    let outcome = run(stage, load).await?;
    let rows = looking.await??;
    let written = promises::written(&stage.world).await? - written_before;
    let used = stage.cpu(machines)?.since(&before);

    collected.put_cpu(name, &used, outcome.cpu_ms, written);
    let answers = outcome.latencies()?;
    collected.put(format!("{name}.rate"), rate);
    collected.put(format!("{name}.answer_p50_ms"), quantile_ms(&answers, 0.5));
    collected.put(format!("{name}.answer_p99_ms"), quantile_ms(&answers, 0.99));
    collected.put(format!("{name}.answer_p999_ms"), quantile_ms(&answers, 0.999));
    collected.put(format!("{name}.row_p50_ms"), quantile_ms(&rows, 0.5));
    collected.put(format!("{name}.row_p99_ms"), quantile_ms(&rows, 0.99));
    capacity::remark(&format!("{name}.answer_p99_ms"), &outcome, 202, collected);
    Ok(first + outcome.asked)
}

fn prepare(stage: &Stage, first: usize, schedule: Schedule) -> Result<Load> {
    let requests = Requests::make(&stage.world.signer, &stage.address.to_string(), CODE, first, schedule.len())?;
    Ok(Load::planned(stage.address, requests, schedule))
}

async fn run(stage: &Stage, load: Load) -> Result<Outcome> {
    let outcome = load.run().await?;
    capacity::log(&stage.world, &outcome);
    ensure!(outcome.asked == outcome.schedule.len(), "only {} requests were sent", outcome.asked);
    capacity::accepted_all(&outcome)?;
    Ok(outcome)
}
