//! P: an entry that an operator settles while it is replayed: its member is paid or gets a coupon, never both.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    process::Process,
    proxy::Proxy,
    wait::{eventually, pause},
    world::World,
};

use crate::{
    SOON, Services,
    replay::{replay, statuses},
    replay_jobs::{given_up, moves, rests_at},
    write::accepted,
};

/// Longer than `redis.connect_timeout_ms` and `redis.response_timeout_ms` of dlq-consumer together.
const CALL_BOUND: Duration = Duration::from_secs(3);

/// One entry of the campaign JOB; what fails from now on is held.
async fn given_up_then_held(world: &World) -> Result<(Process, Process, Process)> {
    let services = Services::start(world).await?;
    given_up(world, &services, 1).await?;
    let Services { api, issue_consumer, dlq_consumer } = services;
    drop(dlq_consumer);
    let launch = world.start_dlq_consumer().set("jobs.workers", 0);
    let launch = launch.set("give_up.burst", 0).set("give_up.per_second", 0);
    Ok((api, issue_consumer, launch.await?))
}

/// Compensates the HELD dead letter by hand, as soon as it is there and a replay has this outcome.
async fn compensate_the_held(world: &World, outcome: &str) -> Result<()> {
    let held = "SELECT (SELECT id FROM dlq_events WHERE status = 'HELD') FROM replays WHERE outcome = $1";
    let letter = eventually("it is held", SOON * 2, async || -> Result<Option<i64>> {
        let found: Option<Option<i64>> = sqlx::query_scalar(held).bind(outcome).fetch_optional(&world.db).await?;
        Ok(found.flatten())
    })
    .await?;
    let words = ["compensate", &format!("D{letter}"), "--reason", "the member was paid", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &words).await?.succeeded()?;
    Ok(())
}

/// The only entry of the work list, as it is typed.
async fn only_entry(world: &World) -> Result<String> {
    let id: i64 = sqlx::query_scalar("SELECT id FROM failed_coupon_issues").fetch_one(&world.db).await?;
    Ok(format!("E{id}"))
}

/// Resolves every entry, as a process of an earlier version did.
pub(crate) async fn resolved_by_an_earlier_version(world: &World) -> Result<()> {
    let resolve = "UPDATE failed_coupon_issues
                   SET status = 'RESOLVED', resolved_at = now(), resolved_by = 'olga', resolution = 'paid'";
    sqlx::query(resolve).execute(&world.db).await?;
    Ok(())
}

/// Checks that the operator's change of the first entry stays, and that no replay by a filter takes it.
async fn nothing_is_issued_on_top(world: &World) -> Result<()> {
    let root: (String, bool, String, String) = sqlx::query_as(
        "SELECT status, decided_by_hand, resolved_by, resolution FROM failed_coupon_issues ORDER BY id LIMIT 1",
    )
    .fetch_one(&world.db)
    .await?;
    ensure!(root.0 == "RESOLVED" && root.1 && root.2 == "olga", "{root:?}");
    ensure!(root.3.starts_with("the member was paid; request "), "{root:?}");
    let audited: Vec<String> = sqlx::query_scalar(
        "SELECT reason FROM operator_audit WHERE actor = 'olga' AND verb = 'compensate' AND change ->> 'from' = 'PENDING'
         AND subject = 'failed_coupon_issues/' || (SELECT min(id) FROM failed_coupon_issues)",
    )
    .fetch_all(&world.db)
    .await?;
    assert_eq!(audited, ["the member was paid"]);
    let again = replay(world, &["--coupon", "JOB"]).await?;
    ensure!(again.stderr.contains("0 can be replayed"), "{again:?}");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (0, 2), "paid, and nothing issued on top");
    assert_eq!(statuses(world).await?, ["RESOLVED"; 2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_whose_replay_is_compensated_by_hand_is_settled_with_it() -> Result<()> {
    let world = World::new().await?;
    let _services = given_up_then_held(&world).await?;
    let rule = world.fail_campaign("JOB", FailMode::Permanently).await?;
    let (replayed, paid) = tokio::join!(replay(&world, &["--coupon", "JOB"]), compensate_the_held(&world, "RESERVED"));
    paid?;
    ensure!(replayed?.code == Some(1));
    rule.lift().await?;
    nothing_is_issued_on_top(&world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_whose_member_is_paid_for_another_request_is_settled_with_it() -> Result<()> {
    let world = World::new().await?;
    let (api, _issue_consumer, _dlq_consumer) = given_up_then_held(&world).await?;
    let rule = world.fail_campaign("JOB", FailMode::Permanently).await?;
    accepted(&world, &api, "JOB", "unlucky-0").await?;
    let (replayed, paid) = tokio::join!(replay(&world, &["--coupon", "JOB"]), compensate_the_held(&world, "HOLDS_ONE"));
    paid?;
    ensure!(replayed?.code == Some(1));
    rule.lift().await?;
    nothing_is_issued_on_top(&world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_whose_replay_is_under_way_is_neither_resolved_nor_ignored() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 1).await?;
    let entry = only_entry(&world).await?;
    services.issue_consumer.stop()?;
    let (replayed, tried) = tokio::join!(replay(&world, &["--coupon", "JOB"]), async {
        rests_at(&world, 1).await?;
        for verb in ["resolve", "ignore"] {
            let one = world.run("dlq-consumer", &[verb, &entry, "--reason", "paid", "--by", "olga"]).await?;
            ensure!(
                one.code == Some(1) && one.stderr.contains(&format!("a replay of entry {entry} is under way")),
                "{one:?}"
            );
            let words = [verb, "--coupon", "JOB", "--up-to", &entry, "--reason", "paid", "--by", "olga", "--yes"];
            let all = world.run("dlq-consumer", &words).await?.succeeded();
            all?;
        }
        assert_eq!(statuses(&world).await?, ["PENDING"]);
        services.issue_consumer.cont()
    });
    tried?;
    replayed?.succeeded()?;
    let resolution: String =
        sqlx::query_scalar("SELECT resolution FROM failed_coupon_issues").fetch_one(&world.db).await?;
    ensure!(resolution.starts_with("issued by request "), "{resolution}");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (1, 1), "issued, and nobody was told to pay");
    Ok(())
}

/// Only a process of an earlier version can settle an entry of which a replay is under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_waits_for_redis_looks_again_whether_its_entry_still_waits() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 1).await?;
    let redis = Proxy::before(&world.redis_url).await?;
    redis.cut().await?;
    let words = ["replay", "--coupon", "JOB", "--reason", "mended", "--by", "olga", "--yes"];
    let variables = [("REDIS_URL", redis.url())];
    let (replayed, settled) = tokio::join!(world.run_with("dlq-consumer", &words, &variables), async {
        eventually("it is linked", SOON, async || -> Result<bool> {
            let links: i64 = sqlx::query_scalar("SELECT count(*) FROM replays").fetch_one(&world.db).await?;
            Ok(links == 1)
        })
        .await?;
        rests_at(&world, 1).await?;
        resolved_by_an_earlier_version(&world).await?;
        // A try that began before the change may still reserve; none lasts longer than its bound.
        pause(CALL_BOUND).await;
        redis.restore().await
    });
    settled?;
    let replayed = replayed?;
    ensure!(replayed.code == Some(1), "{replayed:?}");
    let outcome: Option<String> = sqlx::query_scalar("SELECT outcome FROM replays").fetch_one(&world.db).await?;
    assert_eq!(outcome.as_deref(), Some("NOT_READY"));
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (0, 1), "settled, and nothing issued on top");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_whose_replay_was_cancelled_before_redis_was_asked_can_be_settled_after_it_ends() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services, 1).await?;
    let words = ["replay", "--coupon", "JOB", "--reason", "mended", "--by", "olga", "--yes"];
    let cut = world.run_with("dlq-consumer", &words, &[("COUPON_CRASH_AT", "reserve:before")]).await?;
    ensure!(cut.code != Some(0), "{cut:?}");
    let entry = only_entry(&world).await?;
    let resolve = ["resolve", &entry, "--reason", "paid", "--by", "olga"];
    let refused = world.run("dlq-consumer", &resolve).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("cancel it or wait"), "{refused:?}");
    moves(&world, "cancel").await?.succeeded()?;
    world.coupon(&["close", "JOB"]).await?.succeeded()?;
    sqlx::query("UPDATE replay_jobs SET heartbeat_at = now() - interval '1 minute'").execute(&world.db).await?;
    eventually("the replay has ended, and the entry is resolved", SOON, async || -> Result<bool> {
        Ok(world.run("dlq-consumer", &resolve).await?.code == Some(0))
    })
    .await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (0, 1));
    Ok(())
}
