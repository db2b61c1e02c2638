//! P: the status of a replay, and that every request it has begun ends, also when the replay is stopped.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Utc};
use coupon_e2e::{
    failures::FailMode,
    proxy::Proxy,
    wait::{eventually, stays},
    world::World,
};

use crate::{
    SOON, Services, issued_rows,
    replay::{replay, statuses},
    replay_jobs::{given_up, job, moves, rests_at},
    replay_settled::resolved_by_an_earlier_version,
};

/// Begins a replay of the campaign JOB whose process ends at this point.
async fn cut_off(world: &World, point: &str) -> Result<()> {
    let words = ["replay", "--coupon", "JOB", "--reason", "ticket 4711", "--by", "olga", "--yes"];
    let cut = world.run_with("dlq-consumer", &words, &[("COUPON_CRASH_AT", point)]).await?;
    ensure!(cut.code != Some(0), "{cut:?}");
    Ok(())
}

/// As if the process that works on the replay had last said so this long ago.
async fn silent_for(world: &World, time: &str) -> Result<()> {
    let back = sqlx::query("UPDATE replay_jobs SET heartbeat_at = now() - $1::interval").bind(time);
    back.execute(&world.db).await?;
    Ok(())
}

async fn outcome(world: &World) -> Result<Option<String>> {
    Ok(sqlx::query_scalar("SELECT outcome FROM replays").fetch_one(&world.db).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_progress_of_a_replay_counts_the_rows_of_this_replay() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 7).await?;
    let replayed = replay(&world, &["--coupon", "JOB", "--per-second", "1"]).await?;
    let lines: Vec<&str> = replayed.stderr.lines().filter(|line| line.ends_with(" replays")).collect();
    ensure!(lines.len() >= 2 && lines.iter().all(|line| line.ends_with(" of 7 replays")), "{replayed:?}");
    replayed.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_nobody_works_on_is_told_from_one_that_runs() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 2).await?;
    cut_off(&world, "link a replay:after").await?;
    let status = async || world.run("dlq-consumer", &["replay", "status"]).await?.succeeded();
    let running = status().await?;
    ensure!(running.contains("RUNNING") && !running.contains("nobody") && running.contains("ticket 4711"), "{running}");
    silent_for(&world, "40 seconds").await?;
    let silent = status().await?;
    ensure!(
        silent.contains("RUNNING, but nobody has worked on it for 4")
            && silent.contains("`dlq-consumer replay resume 1 --by NAME`"),
        "{silent}"
    );
    ensure!(job(&world).await?["idle_seconds"].as_i64() >= Some(40));

    let resumed = world.run("dlq-consumer", &["replay", "resume", "1", "--by", "olga", "--yes"]).await?;
    resumed.succeeded()?;
    ensure!(!status().await?.contains("nobody"));
    assert_eq!(statuses(&world).await?, ["RESOLVED"; 2]);
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_worked_on_beats_its_heart_while_it_waits() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 1).await?;
    services.issue_consumer.stop()?;
    let (replayed, beats) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        rests_at(&world, 1).await?;
        silent_for(&world, "1 hour").await?;
        eventually("its heart beats", SOON, async || -> Result<bool> {
            Ok(job(&world).await?["idle_seconds"].as_i64() < Some(10))
        })
        .await?;
        services.issue_consumer.cont()
    });
    beats?;
    replayed?.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reason_of_a_replay_stands_in_the_audit_of_each_of_its_rows() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 2).await?;
    replay(&world, &["--coupon", "JOB"]).await?.succeeded()?;
    let audit = "SELECT reason FROM operator_audit WHERE subject LIKE 'failed_coupon_issues/%'";
    let reasons: Vec<String> = sqlx::query_scalar(audit).fetch_all(&world.db).await?;
    ensure!(reasons.len() == 2, "{reasons:?}");
    for reason in reasons {
        ensure!(reason.starts_with("issued by request ") && reason.ends_with("; replay 1: mended"), "{reason}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_ends_with_0_only_when_everything_that_was_named_is_issued() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 2).await?;
    let one = replay(&world, &["1", "4711"]).await?;
    ensure!(one.code == Some(1) && one.stderr.contains("is DONE"), "there is no 4711: {one:?}");
    let again = replay(&world, &["1", "2"]).await?;
    ensure!(again.code == Some(1) && again.stderr.contains("is DONE"), "1 was RESOLVED before: {again:?}");
    assert_eq!(statuses(&world).await?, ["RESOLVED"; 2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cancelled_replay_has_begun_is_settled_and_its_campaign_can_be_archived() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 1).await?;
    cut_off(&world, "reserve:before").await?;
    moves(&world, "cancel").await?.succeeded()?;
    world.coupon(&["close", "JOB"]).await?.succeeded()?;
    assert_eq!(outcome(&world).await?, None, "nobody has asked redis, and its worker could still do so");
    silent_for(&world, "1 minute").await?;
    eventually("it is settled", SOON, async || -> Result<bool> { Ok(outcome(&world).await?.is_some()) }).await?;
    assert_eq!(outcome(&world).await?.as_deref(), Some("CLOSED"));
    world.run("dlq-consumer", &["ignore", "1", "--reason", "over", "--by", "olga"]).await?.succeeded()?;
    let archive = ["campaign", "archive", "JOB", "--reason", "over", "--by", "olga", "--yes"];
    let archived = world.run("dlq-consumer", &archive).await?;
    archived.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replay_has_begun_goes_on_though_its_process_is_gone() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 1).await?;
    cut_off(&world, "reserve:before").await?;
    silent_for(&world, "1 minute").await?;
    issued_rows(&world, "JOB", 1, SOON).await?;
    eventually("the row is resolved", SOON, async || -> Result<bool> { Ok(statuses(&world).await? == ["RESOLVED"]) })
        .await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_replay_of_an_entry_that_was_settled_otherwise_issues_nothing() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 1).await?;
    cut_off(&world, "reserve:before").await?;
    resolved_by_an_earlier_version(&world).await?;
    silent_for(&world, "1 minute").await?;
    eventually("it is settled", SOON, async || -> Result<bool> { Ok(outcome(&world).await?.is_some()) }).await?;
    assert_eq!(outcome(&world).await?.as_deref(), Some("NOT_READY"));
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (0, 1), "paid, and nothing issued on top");
    Ok(())
}

/// A row of an earlier step that is decided now must not be taken for one of this step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_a_replay_waits_for_its_own_rows_and_not_for_those_of_the_step_before() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 3).await?;
    services.issue_consumer.stop()?;
    let (replayed, paused) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        rests_at(&world, 1).await?;
        moves(&world, "pause").await?.succeeded()
    });
    replayed?;
    paused?;
    // The second waits, though the first is decided at once.
    let second = "SELECT member_id FROM failed_coupon_issues WHERE id = 2";
    let second: String = sqlx::query_scalar(second).fetch_one(&world.db).await?;
    world.fail_member("JOB", &second, FailMode::For(Duration::from_secs(2))).await?;
    let (resumed, watched) = tokio::join!(moves(&world, "resume"), async {
        rests_at(&world, 2).await?;
        services.issue_consumer.cont()
    });
    watched?;
    resumed?.succeeded()?;
    let (second_decided, third_begun): (DateTime<Utc>, DateTime<Utc>) = sqlx::query_as(
        "SELECT (SELECT i.decided_at FROM replays r JOIN coupon_issues i USING (request_id) WHERE r.failed_issue_id = 2),
                (SELECT created_at FROM replays WHERE failed_issue_id = 3)",
    )
    .fetch_one(&world.db)
    .await?;
    ensure!(second_decided < third_begun, "{second_decided} and {third_begun}");
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_never_chooses_what_was_compensated_by_hand_and_a_number_does() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 2).await?;
    let by_hand = "UPDATE failed_coupon_issues SET decided_by_hand = true WHERE id = 1";
    sqlx::raw_sql(by_hand).execute(&world.db).await?;
    replay(&world, &["--coupon", "JOB"]).await?.succeeded()?;
    assert_eq!(statuses(&world).await?, ["PENDING", "RESOLVED"]);
    let none = replay(&world, &["--coupon", "JOB"]).await?;
    ensure!(none.stderr.contains("0 can be replayed"), "{none:?}");
    replay(&world, &["1"]).await?.succeeded()?;
    assert_eq!(statuses(&world).await?, ["RESOLVED"; 2]);
    Ok(())
}

/// 500 decided replays and their rows, as a replay leaves them whose process is gone.
async fn plant_decided(world: &World) -> Result<()> {
    sqlx::raw_sql(
        "UPDATE coupons SET issued_quantity = 500 WHERE coupon_code = 'FAR';
         INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, created_by, created_at,
                                  updated_at)
         VALUES ('REQUESTS', 'DONE', '{}', 500, 50, false, 500, 'olga', now(), now());
         INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason)
         SELECT 'FAR', 'm' || n, gen_random_uuid(), 'PENDING', 'UNKNOWN', 'P0001', 'planted' FROM generate_series(1, 500) n;
         INSERT INTO replays (request_id, failed_issue_id, coupon_code, member_id, job_id, outcome, after_close, created_at,
                              updated_at)
         SELECT gen_random_uuid(), id, coupon_code, member_id, 1, 'RESERVED', false, now(), now() FROM failed_coupon_issues;
         INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
         SELECT coupon_id, request_id, member_id, 'ISSUED', 1, failed_issue_id, now(), now() + interval '1 day'
         FROM replays JOIN coupons USING (coupon_code)",
    )
    .execute(&world.db)
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_replays_are_settled_though_each_round_trip_to_postgresql_takes_16_ms() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FAR", 1000).await?;
    plant_decided(&world).await?;
    let far = Proxy::before(&world.database_url).await?;
    far.delay(Duration::from_millis(8)).await?;
    let dlq_consumer = world.start_dlq_consumer().database_through(&far).await?;
    eventually("all are resolved", SOON, async || -> Result<bool> {
        Ok(statuses(&world).await?.iter().all(|status| status == "RESOLVED"))
    })
    .await?;
    stays("the connections are kept", Duration::from_secs(1), async || !dlq_consumer.log_contains("it is silent"))
        .await?;
    let audited: (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT subject) FROM operator_audit WHERE verb = 'replay'")
            .fetch_one(&world.db)
            .await?;
    assert_eq!(audited, (500, 500));
    let entry = "SELECT f.resolution = 'issued by request ' || r.request_id FROM failed_coupon_issues f
                 JOIN replays r ON r.failed_issue_id = f.id WHERE r.outcome = 'ISSUED' ORDER BY f.id LIMIT 1";
    let is_named: Option<bool> = sqlx::query_scalar(entry).fetch_optional(&world.db).await?;
    ensure!(is_named.context("a settled replay")?, "the request that was issued is named");
    Ok(())
}
