//! Replays that services work on: they outlive the terminal and the worker, and are paused and followed from another one.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use coupon_e2e::{wait::eventually, world::World};

use super::{GOES_ON_WITHIN, serving, worker_and_other};
use crate::{
    SOON, Services, issued_rows,
    replay::replay,
    replay_jobs::{given_up, job as replay_status, moves},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_outlives_its_terminal_and_its_worker_and_issues_each_coupon_once() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 12).await?;
    let [one, other] = &serving(&world, 2).await?[..] else { unreachable!("two were started") };
    let begun = async {
        eventually("two are begun", SOON, async || -> Result<bool> {
            Ok(replay_status(&world).await?["begun"].as_i64() >= Some(2))
        })
        .await
    };
    tokio::select! {
        ended = replay(&world, &["--coupon", "JOB", "--per-second", "2"]) => anyhow::bail!("it has ended: {ended:?}"),
        // The command that is dropped here is killed.
        begun = begun => begun?,
    }
    let (worker, _) = worker_and_other(&world, "replay_jobs", one, other).await?;
    worker.kill();
    issued_rows(&world, "JOB", 12, GOES_ON_WITHIN + Duration::from_secs(20)).await?;
    eventually("the replay is done", SOON, async || -> Result<bool> {
        let job = replay_status(&world).await?;
        Ok(job["status"] == "DONE" && job["succeeded"] == 12 && job["begun"] == 12)
    })
    .await?;
    let replays: Vec<i64> =
        sqlx::query_scalar("SELECT failed_issue_id FROM replays ORDER BY created_at").fetch_all(&world.db).await?;
    assert_eq!((replays.len(), replays.iter().collect::<BTreeSet<_>>().len()), (12, 12));
    let by: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT actor FROM operator_audit WHERE subject LIKE 'replay_jobs/%'")
            .fetch_all(&world.db)
            .await?;
    assert_eq!(by, ["olga"], "also what the service did");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (12, 12));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_the_services_is_paused_resumed_and_followed() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 5).await?;
    let _service = serving(&world, 1).await?;
    services.issue_consumer.stop()?;
    let (replayed, paused) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        eventually("one is begun", SOON, async || -> Result<bool> { Ok(replay_status(&world).await?["begun"] == 1) })
            .await?;
        moves(&world, "pause").await?.succeeded()
    });
    paused?;
    let replayed = replayed?;
    ensure!(replayed.code == Some(1) && replayed.stderr.contains("is PAUSED"), "{replayed:?}");
    services.issue_consumer.cont()?;
    let resumed = moves(&world, "resume").await?;
    ensure!(resumed.code == Some(0) && resumed.stderr.contains("is DONE"), "{resumed:?}");
    ensure!(replay_status(&world).await?["in_service"] == true);
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (5, 5, 95));
    Ok(())
}
