//! Half load: how soon members have their answer and their row, also when many come at once.

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

/// Half load for some seconds; members are numbered from `first`. Returns the number after the last one.
pub async fn steady(
    stage: &Stage,
    machines: &Machines,
    first: usize,
    (rate, seconds): (f64, f64),
    collected: &mut Collected,
) -> Result<usize> {
    let written_before = promises::written(&stage.world).await?;
    let before = stage.cpu(machines)?;
    let _running = progress::step("half load");
    let (to, samples) = unbounded_channel();
    let looking = tokio::spawn(rows::follow(stage.world.db.clone(), samples));
    let mut load = prepare(stage, first, Schedule::steady(rate, seconds))?;
    load.samples = Some(Samples { every: SAMPLED, to });
    let outcome = run(stage, load).await?;
    let rows = looking.await??;
    let written = promises::written(&stage.world).await? - written_before;
    let used = stage.cpu(machines)?.since(&before);

    collected.put_cpu("half", &used, outcome.cpu_ms, written);
    let answers = outcome.latencies(false)?;
    collected.put("half.rate", rate);
    collected.put("half.answer_p50_ms", quantile_ms(&answers, 0.5));
    collected.put("half.answer_p99_ms", quantile_ms(&answers, 0.99));
    collected.put("half.answer_p999_ms", quantile_ms(&answers, 0.999));
    collected.put("half.row_p50_ms", quantile_ms(&rows, 0.5));
    collected.put("half.row_p99_ms", quantile_ms(&rows, 0.99));
    capacity::remark("half.answer_p99_ms", &outcome, 202, collected);
    Ok(first + outcome.asked)
}

/// The same with `count` more within one second in the middle.
pub async fn burst(
    stage: &Stage,
    first: usize,
    rate: f64,
    seconds: f64,
    count: u32,
    collected: &mut Collected,
) -> Result<()> {
    // What the run before has left to write is not this one's.
    promises::written(&stage.world).await?;
    let _running = progress::step("half load with a burst");
    let start = (seconds / 2.0 - 0.5).max(0.0);
    let schedule = Schedule::steady(rate, seconds).with_burst(start, count);
    let outcome = run(stage, prepare(stage, first, schedule)?).await?;
    collected.put("burst.answer_p99_ms", quantile_ms(&outcome.latencies(false)?, 0.99));
    collected.put("burst.own_p99_ms", quantile_ms(&outcome.latencies(true)?, 0.99));
    capacity::remark("burst.answer_p99_ms", &outcome, 202, collected);
    Ok(())
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
