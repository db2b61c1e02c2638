//! An upgrade and a roll-back under load: the services of an older build beside those of this one, on this one's schema.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    process::{Process, launch::Launch},
    wait::eventually,
    world::World,
};

use crate::{SOON, crowd::Crowd};

const TOTAL: u64 = 100_000;
/// Requests that are to be accepted in each state of the roll-out.
const IN_EACH_STATE: usize = 100;
const SETTLED: Duration = Duration::from_mins(1);

/// The older build, as `scripts/previous-build` has made it.
fn older(launch: Launch) -> Result<Launch> {
    let folder = env::var_os("COUPON_PREVIOUS_BIN_DIR").context(
        "COUPON_PREVIOUS_BIN_DIR names no folder with the binaries of an older build; scripts/test --long sets it",
    )?;
    Ok(launch.of_build(PathBuf::from(folder)))
}

/// The two consumers of one build.
async fn consumers(of: impl Fn(Launch) -> Result<Launch>, world: &World) -> Result<[Process; 2]> {
    let (issue, dlq) = (of(world.start_issue_consumer())?, of(world.start_dlq_consumer())?);
    let (issue, dlq) = tokio::try_join!(issue.into_future(), dlq.into_future())?;
    Ok([issue, dlq])
}

/// In the order of "Upgrade" in `deploy/README.md`: the schema, the consumers, then `issuer-api`; and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_build_works_on_this_schema_and_beside_this_build_in_an_upgrade_and_a_roll_back() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ROLLED", TOTAL).await?;
    // One in each state whose coupon can never be written, so that the second stage and its give-backs are rolled too.
    for state in 0..4 {
        world.fail_member("ROLLED", &format!("unlucky-{state}"), FailMode::Permanently).await?;
    }
    let this = Ok;
    let old_api = older(world.start_api())?.await?;
    let old = consumers(older, &world).await?;
    let new_api = world.start_api().await?;
    let crowd = Crowd::ask(&world, &[&old_api, &new_api], "ROLLED")?;
    let unlucky = async |state: u32, api: &Process| -> Result<()> {
        let answer = world.member(api, &format!("unlucky-{state}"))?.ask("ROLLED").await;
        ensure!(answer.is_held(), "{answer:?}");
        crowd.sold_more(IN_EACH_STATE).await?;
        let decided = usize::try_from(state)? + 1;
        eventually("it is compensated", SOON, async || -> Result<bool> {
            Ok(world.verdict().await?.compensated >= decided)
        })
        .await
    };

    unlucky(0, &new_api).await?;
    let new = consumers(this, &world).await?;
    unlucky(1, &old_api).await?;
    for process in old {
        process.terminate(SOON).await?;
    }
    unlucky(2, &new_api).await?;
    let old = consumers(older, &world).await?;
    for process in new {
        process.terminate(SOON).await?;
    }
    unlucky(3, &old_api).await?;
    let sold = crowd.sold();
    crowd.go_home().await?;

    let verdict = world.quiet(SETTLED, &[]).await?;
    println!("rolled: {sold} accepted; {verdict}");
    ensure!(verdict.compensated == 4, "{verdict}");
    ensure!(old.iter().chain([&old_api, &new_api]).all(Process::is_running), "all still run");
    Ok(())
}
