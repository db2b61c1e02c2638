//! The rounds: each verb once a round, watched from all sides, and its outcome checked.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use coupon_e2e::world::World;
use tokio::time::sleep;

use super::{
    campaign::{ASKED, Campaign, SAMPLED_MEMBERS},
    check,
};
use crate::{
    measure::{
        client::{Client, Stalls},
        process::{self, Used},
        redis_log::{RedisLog, SlowMoments},
        spread::time,
    },
    progress,
    seed::CODE,
};

/// A verb in the situation in which it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verb {
    /// Part of the ids of its figures.
    pub id: &'static str,
    /// Name of the verb in tables and messages.
    pub name: &'static str,
    arguments: &'static [&'static str],
}

/// `reconcile --apply` where holder entries are missing in Redis.
const APPLY: Verb =
    Verb { id: "apply", name: "reconcile --apply", arguments: &["reconcile", CODE, "--apply", "--by", "bench"] };

/// `rebuild`, which begins a new epoch.
const REBUILD: Verb = Verb { id: "rebuild", name: "rebuild", arguments: &["rebuild", CODE, "--yes", "--by", "bench"] };

/// In the order in which a round runs them; first `reconcile` where Redis and PostgreSQL agree.
pub const VERBS: [Verb; 3] =
    [Verb { id: "reconcile", name: "reconcile", arguments: &["reconcile", CODE] }, APPLY, REBUILD];

/// Figures of one run of one verb.
#[derive(Clone, Debug)]
pub struct Run {
    /// The verb that was run.
    pub verb: Verb,
    /// Time and memory of the process.
    pub used: Used,
    /// Waits of another client of Redis during the run.
    pub stalls: Stalls,
    /// How long the same client waited during an equal time afterwards, when nothing else ran.
    pub idle: Stalls,
    /// Slow commands and latency events that Redis logged during the run.
    pub redis: SlowMoments,
}

/// Runs all rounds. A run that fails, or leaves the campaign otherwise than it should, ends the measurement.
pub async fn measure(campaign: &mut Campaign, dlq_consumer: &Path, rounds: u32, missing: u32) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    let mut epoch = 1;
    for round in 1..=rounds {
        for verb in VERBS {
            let lost = if verb == APPLY { campaign.some(usize::try_from(missing)?)? } else { Vec::new() };
            if !lost.is_empty() {
                campaign.lose(&lost).await?;
            }
            let what = format!("round {round} of {rounds}: {}", verb.name);
            let mut run = watched(campaign, dlq_consumer, verb, &what).await.context(what.clone())?;
            epoch += i64::from(verb == REBUILD);
            let checking = progress::step(&format!("{what}: checking the outcome"));
            check::is_whole(campaign, &[lost, campaign.some(SAMPLED_MEMBERS)?].concat(), epoch)
                .await
                .context(what.clone())?;
            campaign.settle().await?;
            checking.finish_and_clear();
            run.idle = idle(&campaign.world, run.used.wall_ms, &what).await?;
            progress::say(&line(&what, &run));
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Runs a verb while a client asks Redis.
async fn watched(campaign: &mut Campaign, dlq_consumer: &Path, verb: Verb, what: &str) -> Result<Run> {
    campaign.settle().await?;
    let _running = progress::step(what);
    let noted = RedisLog::from_now(&campaign.redis).await?;
    let client = Client::start(&campaign.world.redis_url, ASKED)?;
    let used = process::run(dlq_consumer, &arguments(verb, &campaign.world), &campaign.world.environment()).await?;
    let stalls = client.finish()?;
    let redis = noted.read().await?;
    Ok(Run { verb, used, stalls, idle: stalls, redis })
}

/// Returns the arguments of the command.
fn arguments(verb: Verb, world: &World) -> Vec<String> {
    let settings = [
        ("kafka.topic", world.topic.name().to_owned()),
        ("kafka.dlq_topic", world.dlq.name().to_owned()),
        ("kafka.issue_group_id", world.group_of("issue-consumer")),
        ("kafka.group_id", world.group_of("dlq-consumer")),
    ];
    let settings = settings.into_iter().flat_map(|(key, value)| ["--set".to_owned(), format!("{key}={value}")]);
    settings.chain(verb.arguments.iter().map(|&word| word.to_owned())).collect()
}

/// Lets the client ask a Redis at rest. After the run and not before it, because only then is known how long: the
/// longest of many waits grows with their number.
async fn idle(world: &World, wall_ms: f64, what: &str) -> Result<Stalls> {
    let _waiting = progress::step(&format!("{what}: the same client on an idle server"));
    let client = Client::start(&world.redis_url, ASKED)?;
    sleep(Duration::from_secs_f64(wall_ms / 1000.0)).await;
    client.finish()
}

fn line(what: &str, run: &Run) -> String {
    let Used { wall_ms, peak_mib, .. } = run.used;
    let (stall, idle) = (time(run.stalls.max_ms), time(run.idle.max_ms));
    format!("{what}: {}, {peak_mib:.0} MiB, longest stall {stall} (idle {idle})", time(wall_ms))
}
