//! P5: the course of a replay: its rate, its ramp, where it stops, and how another terminal steers it.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, Utc};
use coupon_e2e::{failures::FailMode, process::command::Output, wait::eventually, wait::stays, world::World};
use serde_json::Value;

use crate::{
    SOON, Services, issued_rows,
    replay::{replay, statuses},
    rows::json,
    write::accepted,
};

/// Makes a campaign of which so many requests are compensated; nothing fails any more.
pub(crate) async fn given_up(world: &World, services: &Services, members: usize) -> Result<()> {
    world.open_campaign("JOB", 100).await?;
    let rule = world.fail_campaign("JOB", FailMode::Permanently).await?;
    for member in 0..members {
        accepted(world, &services.api, "JOB", &format!("unlucky-{member}")).await?;
    }
    eventually("all units are back", SOON, async || -> Result<bool> {
        let back = "SELECT count(*) FROM coupon_issues WHERE given_back_at IS NOT NULL";
        let back: i64 = sqlx::query_scalar(back).fetch_one(&world.db).await?;
        Ok(usize::try_from(back)? == members)
    })
    .await?;
    rule.lift().await
}

/// Returns the newest replay, as `replay status` prints it.
pub(crate) async fn job(world: &World) -> Result<Value> {
    let jobs = json(world, &["replay", "status"]).await?;
    Ok(jobs[0].clone())
}

/// Waits until the newest replay has begun so many rows, and no more follow for a second.
pub(crate) async fn rests_at(world: &World, begun: i64) -> Result<()> {
    eventually(&format!("{begun} are begun"), SOON, async || -> Result<bool> {
        Ok(job(world).await?["begun"] == begun)
    })
    .await?;
    stays("no more are begun", Duration::from_secs(1), async || -> Result<bool> {
        Ok(job(world).await?["begun"] == begun)
    })
    .await
}

pub(crate) async fn moves(world: &World, verb: &str) -> Result<Output> {
    let number = job(world).await?["job_id"].to_string();
    world.run("dlq-consumer", &["replay", verb, &number, "--reason", "looking", "--by", "otto"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_replay_begins_no_more_in_a_second_than_it_may() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 6).await?;
    replay(&world, &["--coupon", "JOB", "--per-second", "4"]).await?.succeeded()?;
    let begun: Vec<DateTime<Utc>> =
        sqlx::query_scalar("SELECT created_at FROM replays ORDER BY created_at").fetch_all(&world.db).await?;
    assert_eq!(begun.len(), 6);
    for pair in begun.windows(2) {
        // A timer of a millisecond may end one early on either side.
        ensure!((pair[1] - pair[0]).num_milliseconds() >= 245, "{begun:?}");
    }
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_replay_begins_with_one_and_waits_for_it_then_with_ten() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 13).await?;
    services.issue_consumer.stop()?;
    let (replayed, watched) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        rests_at(&world, 1).await?;
        services.issue_consumer.cont()
    });
    watched?;
    replayed?.succeeded()?;
    let times: Vec<(DateTime<Utc>, DateTime<Utc>)> = sqlx::query_as(
        "SELECT r.created_at, i.decided_at FROM replays r JOIN coupon_issues i USING (request_id)
          ORDER BY r.failed_issue_id",
    )
    .fetch_all(&world.db)
    .await?;
    assert_eq!(times.len(), 13);
    for (step, next) in [(0..1, 1..11), (1..11, 11..13)] {
        let decided = times[step].iter().map(|(_, decided)| decided).max();
        let begun = times[next].iter().map(|(begun, _)| begun).min();
        ensure!(decided < begun, "a step begins before the one before it is decided: {times:?}");
    }
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_paused_from_another_terminal_and_resumed_without_a_gap() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 5).await?;
    services.issue_consumer.stop()?;
    let (replayed, paused) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        rests_at(&world, 1).await?;
        moves(&world, "pause").await?.succeeded()
    });
    paused?;
    let replayed = replayed?;
    ensure!(replayed.code == Some(1) && replayed.stderr.contains("is PAUSED"), "{replayed:?}");
    services.issue_consumer.cont()?;
    issued_rows(&world, "JOB", 1, SOON).await?;
    rests_at(&world, 1).await?;

    let resumed = moves(&world, "resume").await?;
    ensure!(resumed.code == Some(0) && resumed.stderr.contains("is DONE"), "{resumed:?}");
    assert_eq!(statuses(&world).await?, ["RESOLVED"; 5]);
    let moved =
        "SELECT change ->> 'to' FROM operator_audit WHERE subject LIKE 'replay_jobs/%' AND actor = 'otto' ORDER BY id";
    let moved: Vec<String> = sqlx::query_scalar(moved).fetch_all(&world.db).await?;
    assert_eq!(moved, ["PAUSED", "RUNNING", "DONE"]);
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (5, 5, 95));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_cancelled_from_another_terminal_and_what_it_had_begun_goes_on() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 3).await?;
    services.issue_consumer.stop()?;
    let (replayed, cancelled) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        rests_at(&world, 1).await?;
        moves(&world, "cancel").await?.succeeded()
    });
    cancelled?;
    let replayed = replayed?;
    ensure!(replayed.code == Some(1) && replayed.stderr.contains("is CANCELLED"), "{replayed:?}");
    services.issue_consumer.cont()?;
    eventually("the one that was begun is issued and resolved", SOON, async || -> Result<bool> {
        Ok(statuses(&world).await?.iter().filter(|status| *status == "RESOLVED").count() == 1)
    })
    .await?;
    let resumed = moves(&world, "resume").await?;
    ensure!(resumed.code == Some(1) && resumed.stderr.contains("cannot be resumed"), "{resumed:?}");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated, verdict.stock), (1, 3, 99));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_replay_of_which_most_fail_again_stops_after_its_first() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 3).await?;
    let rule = world.fail_campaign("JOB", FailMode::Permanently).await?;
    let stopped = replay(&world, &["--coupon", "JOB"]).await?;
    ensure!(stopped.code == Some(1) && stopped.stderr.contains("1 of the last 1 failed"), "{stopped:?}");
    let found = job(&world).await?;
    assert_eq!((&found["status"], &found["begun"]), (&"STOPPED".into(), &1.into()));

    rule.lift().await?;
    let resumed = moves(&world, "resume").await?;
    ensure!(resumed.code == Some(1), "the first of them is not issued: {resumed:?}");
    assert_eq!(job(&world).await?["status"], "DONE");
    // The one that failed again waits for somebody to look at it; it is not tried twice by one replay.
    let roots = "SELECT status FROM failed_coupon_issues WHERE replay_of IS NULL ORDER BY id";
    let roots: Vec<String> = sqlx::query_scalar(roots).fetch_all(&world.db).await?;
    assert_eq!(roots, ["PENDING", "RESOLVED", "RESOLVED"]);
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_a_campaign_that_takes_none_now_stops_before_its_rows_and_is_resumed() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 3).await?;
    let set = async |status: &str| {
        let set = sqlx::query("UPDATE coupons SET status = $1 WHERE coupon_code = 'JOB'").bind(status);
        set.execute(&world.db).await
    };
    services.issue_consumer.stop()?;
    let (replayed, suspected) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        rests_at(&world, 1).await?;
        set("OPENING").await?;
        services.issue_consumer.cont()
    });
    suspected?;
    let replayed = replayed?;
    ensure!(replayed.code == Some(1) && replayed.stderr.contains("is STOPPED: the campaign of row 2"), "{replayed:?}");
    set("OPEN").await?;
    moves(&world, "resume").await?.succeeded()?;
    assert_eq!(statuses(&world).await?, ["RESOLVED"; 3]);
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (3, 97));
    Ok(())
}
