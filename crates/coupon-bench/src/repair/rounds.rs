//! The rounds: each verb once a round, watched from all sides, and its outcome checked.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::time::sleep;

use super::{
    campaign::{Campaign, SAMPLE},
    check,
    verb::Verb,
};
use crate::{
    measure::{
        client::{Client, Stalls},
        process,
        redis_log::{RedisLog, SlowMoments},
        spread::time,
    },
    place::{FIELD, OWNER, OwnRedis, Place},
    progress,
};

/// One run of one verb.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// What was run.
    pub verb: Verb,
    /// In which round, from 1.
    pub round: u32,
    /// How long it took.
    pub wall_ms: f64,
    /// CPU time of the process.
    pub cpu_ms: u64,
    /// Peak resident memory of the process.
    pub peak_memory_kib: u64,
    /// How long a client of Redis waited meanwhile.
    pub stalls: Stalls,
    /// How long the same client waited afterwards, for as long, when nobody did anything.
    pub idle: Stalls,
    /// What Redis itself noted meanwhile.
    pub redis: SlowMoments,
}

/// Runs all rounds. A run that fails, or leaves the campaign otherwise than it should, ends the measurement.
pub async fn measure(
    campaign: &mut Campaign,
    place: &Place,
    dlq_consumer: &Path,
    rounds: u32,
    missing: u32,
) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut epoch = 1;
    for round in 1..=rounds {
        for verb in Verb::ALL {
            let lost = if verb == Verb::Apply { campaign.some(usize::try_from(missing)?)? } else { Vec::new() };
            if !lost.is_empty() {
                campaign.lose(&lost).await?;
            }
            let what = format!("round {round} of {rounds}: {}", verb.name());
            let mut run = watched(campaign, place, dlq_consumer, verb, &what).await.context(what.clone())?;
            run.round = round;
            epoch += i64::from(verb == Verb::Rebuild);
            let checking = progress::step(&format!("{what}: checking the outcome"));
            check::is_whole(campaign, &[lost, campaign.some(SAMPLE)?].concat(), epoch).await.context(what.clone())?;
            campaign.settle().await?;
            checking.finish_and_clear();
            run.idle = idle(&place.redis, run.wall_ms, &what).await?;
            progress::say(&line(&what, &run));
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Runs a verb while a client asks Redis.
async fn watched(campaign: &mut Campaign, place: &Place, dlq_consumer: &Path, verb: Verb, what: &str) -> Result<Run> {
    campaign.settle().await?;
    let running = progress::step(what);
    let noted = RedisLog::from_now(&campaign.redis).await?;
    let client = Client::start(&place.redis.url, OWNER, FIELD)?;
    let used = process::run(dlq_consumer, &verb.arguments(place), &place.variables()).await?;
    let stalls = client.finish()?;
    let redis = noted.read().await?;
    running.finish_and_clear();
    Ok(Run {
        verb,
        round: 0,
        wall_ms: used.wall.as_secs_f64() * 1000.0,
        cpu_ms: used.cpu_ms,
        peak_memory_kib: used.peak_memory_kib,
        stalls,
        idle: stalls,
        redis,
    })
}

/// Lets the client ask a Redis at rest. After the run and not before it, because only then is known how long: the
/// longest of many waits grows with their number.
async fn idle(redis: &OwnRedis, wall_ms: f64, what: &str) -> Result<Stalls> {
    let waiting = progress::step(&format!("{what}: the same client on an idle server"));
    let client = Client::start(&redis.url, OWNER, FIELD)?;
    sleep(std::time::Duration::from_secs_f64(wall_ms / 1000.0)).await;
    let stalls = client.finish()?;
    waiting.finish_and_clear();
    Ok(stalls)
}

fn line(what: &str, run: &Run) -> String {
    format!(
        "{what}: {}, {} MiB, longest stall {} (idle {})",
        time(run.wall_ms),
        run.peak_memory_kib / 1024,
        time(run.stalls.max_ms),
        time(run.idle.max_ms)
    )
}
