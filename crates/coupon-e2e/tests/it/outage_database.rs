//! O7, O8, O9, and a server that vanishes: outages that look like the fault of a record, and the other way round.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::{FailMode, FullDisk},
    process::logs::LogLine,
    proxy::Proxy,
    wait::{eventually, pause, stays},
    world::World,
};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, Services, issued_rows, unavailable,
    write::{accepted, dead_letters},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o1_a_postgresql_that_vanishes_without_a_word_is_found_again_and_nobody_is_charged() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("VANISHED", 100).await?;
    let way = Proxy::before(&world.database_url).await?;
    let launch = world.start_issue_consumer().database_through(&way);
    let launch = launch.set("database.statement_timeout_ms", 4000).set("database.lock_timeout_ms", 4000);
    let launch = launch.set("database.acquire_timeout_ms", 1000);
    let (api, consumer) = tokio::try_join!(world.start_api().into_future(), launch.into_future())?;
    accepted(&world, &api, "VANISHED", "before").await?;
    issued_rows(&world, "VANISHED", 1, SOON).await?;
    // A statement is under way, and its answer never comes: a new server is there under the same address, and nobody
    // tells the connections to the old one.
    let mut somebody = PgConnection::connect(&world.database_url).await?;
    somebody.execute("BEGIN").await?;
    somebody.execute("SELECT FROM coupons FOR UPDATE").await?;
    accepted(&world, &api, "VANISHED", "in-flight").await?;
    eventually("the statement is under way", SOON, async || -> Result<bool> {
        let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')";
        Ok(sqlx::query_scalar(waiting).fetch_one(&world.db).await?)
    })
    .await?;
    way.abandon_connections();
    somebody.execute("ROLLBACK").await?;
    for member in 0..10 {
        accepted(&world, &api, "VANISHED", &format!("after-{member}")).await?;
    }
    consumer.wait_for_log("the silence is noticed", SOON, unavailable).await?;
    issued_rows(&world, "VANISHED", 12, SOON).await?;
    assert!(!consumer.log_contains("attempt failed"), "an attempt was charged");
    world.quiet(SOON, &[]).await?;
    way.stall().await?;
    accepted(&world, &api, "VANISHED", "last").await?;
    pause(Duration::from_secs(1)).await;
    let status = consumer.terminate(Duration::from_secs(20)).await.context("a silent server keeps it from stopping")?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o7_a_full_disk_is_an_outage_and_no_verdict() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FULL", 100).await?;
    let services = Services::start(&world).await?;
    let lucky = accepted(&world, &services.api, "FULL", "before").await?;
    issued_rows(&world, "FULL", 1, SOON).await?;
    let disk = FullDisk::of(&world.db).await?;
    for member in 0..20 {
        accepted(&world, &services.api, "FULL", &format!("during-{member}")).await?;
    }
    // The dead letter topic is consumed meanwhile too.
    let event = world
        .topic
        .read()
        .await?
        .into_iter()
        .find(|record| record.event().is_some_and(|event| Some(event.request_id) != lucky.request_id));
    world.dlq.write(&event.context("an event of the outage")?.again()).await?;
    for consumer in [&services.issue_consumer, &services.dlq_consumer] {
        let line = consumer.wait_for_log("the breaker opens", SOON, unavailable).await?;
        assert_eq!(line.text_of("code").as_deref(), Some("53100"));
    }
    stays("nothing is charged and nothing decided", Duration::from_secs(15), async || -> Result<bool> {
        let decided: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?;
        let charged = [&services.issue_consumer, &services.dlq_consumer].map(|one| one.log_contains("attempt failed"));
        Ok(decided == 1 && charged == [false, false] && world.dlq.read().await?.len() == 1)
    })
    .await?;
    disk.make_room().await?;
    issued_rows(&world, "FULL", 21, SOON).await?;
    let verdict = world.quiet(SOON, &[coupon_e2e::oracle::Kind::DeadLetterUnlabelled]).await?;
    ensure!((verdict.issued, verdict.compensated) == (21, 0), "{verdict}");
    Ok(())
}

/// A full disk that the small write of the probe does not notice: the probe succeeds all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o7_a_disk_that_is_full_for_coupons_only_is_no_verdict_either() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FULL", 100).await?;
    let rule = world.fail_campaign("FULL", FailMode::With("53100")).await?;
    let services = Services::start(&world).await?;
    for member in 0..10 {
        accepted(&world, &services.api, "FULL", &format!("during-{member}")).await?;
    }
    services.issue_consumer.wait_for_log("the breaker opens", SOON, unavailable).await?;
    stays("nothing is charged", Duration::from_secs(20), async || -> Result<bool> {
        Ok(!services.issue_consumer.log_contains("attempt failed") && world.dlq.read().await?.is_empty())
    })
    .await?;
    let opened = services.issue_consumer.log().iter().filter(|line| unavailable(line)).count();
    ensure!(opened <= 15, "the breaker flaps: opened {opened} times in 20 s");
    rule.lift().await?;
    issued_rows(&world, "FULL", 10, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

/// The last attempt fails, and the decision meets an outage: what failed before it may succeed after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o7_a_give_up_that_had_to_wait_for_the_database_begins_again_with_an_attempt() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("WAITED", 1).await?;
    let rule = world.fail_campaign("WAITED", FailMode::Always).await?;
    // Giving up writes what an attempt does not. The probe's row goes in, or no attempt would have been charged.
    sqlx::raw_sql(
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100';
         END $$;
         CREATE TRIGGER no_room BEFORE INSERT ON failed_coupon_issues
             FOR EACH ROW WHEN (NEW.coupon_code = 'WAITED') EXECUTE FUNCTION no_room();",
    )
    .execute(&world.db)
    .await?;
    let services = Services::start(&world).await?;
    let id = accepted(&world, &services.api, "WAITED", "patient").await?.request_id.context("a request id")?;
    let last = |line: &LogLine| {
        line.is_about(id) && line.message().starts_with("attempt failed") && line.number_of("attempt") == Some(3)
    };
    services.dlq_consumer.wait_for_log("the last attempt", AFTER_ALL_ATTEMPTS, last).await?;
    let line = services.dlq_consumer.wait_for_log("the breaker opens", SOON, unavailable).await?;
    assert_eq!(line.text_of("code").as_deref(), Some("53100"));
    // What refused the attempts is gone, and the request can still not be compensated.
    rule.lift().await?;
    issued_rows(&world, "WAITED", 1, SOON * 2).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (1, 0), "{verdict}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_a_coupon_row_locked_for_a_minute_compensates_nobody_and_other_coupons_flow() -> Result<()> {
    let world = World::new().await?;
    for code in ["LOCKED", "FREE"] {
        world.open_campaign(code, 100).await?;
    }
    let services = Services::start(&world).await?;
    let mut somebody = PgConnection::connect(&world.database_url).await?;
    somebody.execute("BEGIN").await?;
    somebody.execute("SELECT FROM coupons WHERE coupon_code = 'LOCKED' FOR UPDATE").await?;
    let locked = Instant::now();
    for member in 0..10 {
        accepted(&world, &services.api, "LOCKED", &format!("member-{member}")).await?;
        accepted(&world, &services.api, "FREE", &format!("member-{member}")).await?;
    }
    issued_rows(&world, "FREE", 10, SOON).await?;
    // Four attempts, each up to the lock's time-out, and the waits between them; then they wait in the other topic.
    dead_letters(&world, 10, Duration::from_secs(50)).await?;
    accepted(&world, &services.api, "FREE", "late").await?;
    issued_rows(&world, "FREE", 11, SOON).await?;
    pause(Duration::from_mins(1).saturating_sub(locked.elapsed())).await;
    let decided: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM coupon_issues JOIN coupons USING (coupon_id) WHERE coupon_code = 'LOCKED'",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!(decided, 0);
    somebody.execute("ROLLBACK").await?;
    issued_rows(&world, "LOCKED", 10, SOON).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (21, 0), "{verdict}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o8_a_single_decision_that_somebody_holds_costs_the_rest_of_its_batch_no_attempt() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("HELD-UP", 100).await?;
    let api = world.start_api().await?;
    let held = accepted(&world, &api, "HELD-UP", "held-up").await?.request_id.context("a request id")?;
    for member in 0..20 {
        accepted(&world, &api, "HELD-UP", &format!("member-{member}")).await?;
    }
    let mut somebody = PgConnection::connect(&world.database_url).await?;
    somebody.execute("BEGIN").await?;
    sqlx::query(
        "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at)
         SELECT coupon_id, $1, 'held-up', 'COMPENSATED', 1, 1, now() FROM coupons",
    )
    .bind(held)
    .execute(&mut somebody)
    .await?;
    let launch = world.start_issue_consumer();
    let consumer = launch.set("database.lock_timeout_ms", 500).await?;
    issued_rows(&world, "HELD-UP", 20, SOON).await?;
    somebody.execute("ROLLBACK").await?;
    issued_rows(&world, "HELD-UP", 21, SOON).await?;
    let charged: Vec<LogLine> =
        consumer.log().into_iter().filter(|line| line.message().starts_with("attempt failed")).collect();
    assert!(!charged.is_empty() && charged.iter().all(|line| line.is_about(held)), "{charged:?}");
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o9_a_record_that_breaks_the_connection_each_time_is_isolated_and_dead_lettered() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("BREAKS", 100).await?;
    world.fail_member("BREAKS", "breaker", FailMode::Disconnects).await?;
    let api = world.start_api().await?;
    accepted(&world, &api, "BREAKS", "breaker").await?;
    for member in 0..10 {
        accepted(&world, &api, "BREAKS", &format!("healthy-{member}")).await?;
    }
    let (issue, dlq) =
        tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    issued_rows(&world, "BREAKS", 10, SOON).await?;
    let letters = dead_letters(&world, 1, AFTER_ALL_ATTEMPTS).await?;
    assert_eq!(letters[0].header("x-coupon-attempts"), Some("4"));
    let verdict = eventually("it is decided", AFTER_ALL_ATTEMPTS, async || -> Result<bool> {
        Ok(world.verdict().await?.compensated == 1)
    });
    verdict.await?;
    let opened = || [&issue, &dlq].map(|one| one.log().iter().filter(|line| unavailable(line)).count());
    let before = opened();
    stays("no breaker opens any more", Duration::from_secs(5), async || opened() == before).await?;
    ensure!(before.iter().all(|times| *times <= 4), "opened {before:?} times");
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (10, 1), "{verdict}");
    Ok(())
}

/// PostgreSQL refuses even the decision: the dead letter is parked for an operator, and delays no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o9_a_decision_that_breaks_the_connection_each_time_is_parked() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("BREAKS", 100).await?;
    sqlx::raw_sql(
        "CREATE FUNCTION break_connection() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM pg_terminate_backend(pg_backend_pid());
             PERFORM pg_sleep(5);
             RETURN NEW;
         END $$;
         CREATE TRIGGER break_connection BEFORE INSERT ON coupon_issues
             FOR EACH ROW WHEN (NEW.member_id = 'breaker') EXECUTE FUNCTION break_connection();",
    )
    .execute(&world.db)
    .await?;
    let services = Services::start(&world).await?;
    let id = accepted(&world, &services.api, "BREAKS", "breaker").await?.request_id;
    let parked = async || -> Result<bool> {
        let parked: Option<uuid::Uuid> =
            sqlx::query_scalar("SELECT original_event_id FROM dlq_events WHERE status = 'PARKED'")
                .fetch_optional(&world.db)
                .await?;
        Ok(parked.is_some() && parked == id)
    };
    eventually("it is parked", AFTER_ALL_ATTEMPTS * 3, parked).await?;
    accepted(&world, &services.api, "BREAKS", "healthy").await?;
    issued_rows(&world, "BREAKS", 1, SOON).await?;
    let alarm = |line: &LogLine| line.message().starts_with("[CRITICAL]") && line.message().contains("parked");
    services.dlq_consumer.wait_for_log("somebody is told", SOON, alarm).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}
