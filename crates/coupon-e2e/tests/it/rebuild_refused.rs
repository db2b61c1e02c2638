//! What a rebuild does when it cannot go on, and what else stands in the way of the end of a campaign.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    kafka::record::{Event, NewRecord},
    wait::eventually,
    world::World,
};

use crate::{SOON, Services, issued_rows, rebuild::status, write::accepted};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_cannot_go_on_says_why_within_its_bound_and_leaves_the_gate_as_it_found_it() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("STANDS", 10).await?;
    let api = world.start_api().await?;
    accepted(&world, &api, "STANDS", "somebody").await?;
    let rebuild = ["rebuild", "STANDS", "--yes", "--by", "olga", "--wait", "1"];
    let stood = world.run("dlq-consumer", &rebuild).await?;
    ensure!(stood.code == Some(4) && stood.stderr.contains("is it running?"), "{stood:?}");
    ensure!(stood.stderr.contains("dlq-consumer rebuild"), "the next step is named: {stood:?}");
    assert_eq!(status(&world, "STANDS").await?, "OPEN");
    accepted(&world, &api, "STANDS", "late").await?;

    world.coupon(&["close", "STANDS"]).await?.succeeded()?;
    assert_eq!(world.run("dlq-consumer", &rebuild).await?.code, Some(4));
    assert_eq!(status(&world, "STANDS").await?, "CLOSED");
    ensure!(world.member(&api, "later")?.ask("STANDS").await.is_refused_as(409, "CLOSED"));

    // What Redis has lost something of stays shut.
    world.coupon(&["open", "STANDS"]).await?.succeeded()?;
    sqlx::query("UPDATE coupons SET high_seq = 9").execute(&world.db).await?;
    assert_eq!(world.run("dlq-consumer", &rebuild).await?.code, Some(4));
    assert_eq!(status(&world, "STANDS").await?, "SUSPECT");
    ensure!(world.member(&api, "later")?.ask("STANDS").await.status == Some(503));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_looks_at_topics_and_groups_before_it_closes_the_gate_and_so_does_doctor() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BLIND", 10).await?;
    let missing = "kafka.topic=there-is-none";
    let blind = world.run("dlq-consumer", &["--set", missing, "rebuild", "BLIND", "--yes", "--by", "olga"]).await?;
    ensure!(blind.code == Some(1) && blind.stderr.contains("there-is-none"), "{blind:?}");
    let audited: i64 = sqlx::query_scalar("SELECT count(*) FROM operator_audit WHERE verb LIKE 'rebuild%'")
        .fetch_one(&world.db)
        .await?;
    assert_eq!((status(&world, "BLIND").await?.as_str(), audited), ("OPEN", 0));
    assert_eq!(world.stock.of("BLIND").await?.meta["status"], "OPEN");
    let doctor = world.run("dlq-consumer", &["--set", missing, "doctor"]).await?;
    ensure!(doctor.code == Some(1) && doctor.stdout.contains("there-is-none"), "{doctor:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_a_killed_rebuild_left_shut_is_opened_by_reconcile() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("KILLED", 10).await?;
    let services = Services::start(&world).await?;
    let rebuild = ["rebuild", "KILLED", "--yes", "--by", "olga"];
    let killed = world.run_with("dlq-consumer", &rebuild, &[("COUPON_CRASH_AT", "set the gate:after")]).await?;
    ensure!(killed.code != Some(0), "{killed:?}");
    world.run("dlq-consumer", &["reconcile", "KILLED", "--apply", "--by", "olga"]).await?.succeeded()?;
    accepted(&world, &services.api, "KILLED", "late").await?;
    assert_eq!(status(&world, "KILLED").await?, "OPEN");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_replay_of_a_cancelled_job_does_not_hold_up_the_archive() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ENDS", 5).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "ENDS", "somebody").await?;
    issued_rows(&world, "ENDS", 1, SOON).await?;
    world.coupon(&["close", "ENDS"]).await?.succeeded()?;
    let plant = async |status: &str| -> Result<()> {
        sqlx::query(
            "WITH job AS (
                 INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, created_by, created_at, updated_at)
                 VALUES ('REQUESTS', $1, '{}', 1, 1, false, 1, 'olga', now(), now()) RETURNING job_id)
             INSERT INTO replays (request_id, failed_issue_id, coupon_code, member_id, job_id, after_close, created_at, updated_at)
             SELECT gen_random_uuid(), 1, 'ENDS', 'ignored', job_id, false, now(), now() FROM job",
        )
        .bind(status)
        .execute(&world.db)
        .await?;
        Ok(())
    };
    let archive = ["campaign", "archive", "ENDS", "--reason", "over", "--by", "olga", "--yes"];
    plant("RUNNING").await?;
    let running = world.run("dlq-consumer", &archive).await?;
    ensure!(running.code == Some(1) && running.stderr.contains("1 replays under way"), "{running:?}");
    sqlx::query("UPDATE replay_jobs SET status = 'CANCELLED'").execute(&world.db).await?;
    world.run("dlq-consumer", &archive).await?.succeeded()?;
    let outcome: Option<String> =
        sqlx::query_scalar("SELECT outcome FROM replays").fetch_one(&world.db).await.context("the replay")?;
    assert_eq!(outcome.as_deref(), Some("NOT_READY"));
    Ok(())
}

/// A rebuild that waits in vain for issue-consumer, and what is done meanwhile.
async fn in_vain(world: &World, code: &str, meanwhile: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
    let words = ["rebuild", code, "--yes", "--by", "olga", "--wait", "6"];
    let (stood, done) = tokio::join!(world.run("dlq-consumer", &words), async {
        eventually("the rebuild has begun", SOON, async || -> Result<bool> {
            Ok(status(world, code).await? == "SUSPECT")
        })
        .await?;
        meanwhile().await
    });
    done?;
    let stood = stood?;
    ensure!(stood.code == Some(4), "{stood:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_cannot_go_on_opens_the_gate_also_when_the_total_was_raised_meanwhile() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("RAISED", 10).await?;
    let api = world.start_api().await?;
    accepted(&world, &api, "RAISED", "somebody").await?;
    in_vain(&world, "RAISED", async || {
        world.coupon(&["set-total", "RAISED", "20"]).await?.succeeded()?;
        Ok(())
    })
    .await?;
    assert_eq!(status(&world, "RAISED").await?, "OPEN");
    accepted(&world, &api, "RAISED", "late").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_cannot_go_on_stays_shut_when_redis_is_found_to_have_sold_too_much() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("CAP", 1).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "CAP", "somebody").await?;
    issued_rows(&world, "CAP", 1, SOON).await?;
    services.issue_consumer.stop()?;
    // What it waits for in vain.
    world.topic.write(&NewRecord::event(&Event::of("CAP", "other", 3))).await?;
    in_vain(&world, "CAP", async || {
        world.dlq.write(&NewRecord::event(&Event::of("CAP", "straggler", 2))).await?;
        eventually("it is compensated", SOON, async || -> Result<bool> {
            let given_up = "SELECT count(*) FROM failed_coupon_issues WHERE error_code = 'CAP_REACHED'";
            let given_up: i64 = sqlx::query_scalar(given_up).fetch_one(&world.db).await?;
            Ok(given_up == 1)
        })
        .await?;
        Ok(())
    })
    .await?;
    assert_eq!(status(&world, "CAP").await?, "SUSPECT");
    Ok(())
}
