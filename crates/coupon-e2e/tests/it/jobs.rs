//! Jobs that services work on: asked for in a terminal that may be closed, gone on with wherever a process is killed.

mod replays;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{process::Process, wait::eventually, world::World};
use serde_json::Value;

use crate::{SOON, Services, issued_rows, rows::json};

/// Within this time a job of a killed worker goes on: 6 s of silence, a look each 1.3 s, a slow machine.
const GOES_ON_WITHIN: Duration = Duration::from_secs(20);

/// Until the server shows what its backends have counted: each tells it up to a second late, and an idle one later.
const COUNTS_ARE_SHOWN: Duration = Duration::from_secs(5);

/// How long looks are counted: some at each worker, however its period falls.
const LOOKS_COUNTED_FOR: Duration = Duration::from_secs(15);

/// Plants so many PENDING entries of a campaign, and returns the highest number.
async fn planted(world: &World, entries: i64) -> Result<i64> {
    let insert = sqlx::query(
        "INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason, cause)
         SELECT 'BULK', 'member-' || n, gen_random_uuid(), 'PENDING', 'UNKNOWN', 'P0001', 'planted', 'UNKNOWN P0001 planted'
         FROM generate_series(1, $1) n",
    );
    insert.bind(entries).execute(&world.db).await?;
    Ok(sqlx::query_scalar("SELECT max(id) FROM failed_coupon_issues").fetch_one(&world.db).await?)
}

/// The newest job.
async fn job(world: &World) -> Result<Value> {
    Ok(json(world, &["job", "status"]).await?[0].clone())
}

/// Resolves all planted entries, and returns what it printed.
async fn resolve_all(world: &World, up_to: i64) -> Result<coupon_e2e::process::command::Output> {
    let up_to = format!("E{up_to}");
    let words = ["resolve", "--coupon", "BULK", "--up-to", &up_to, "--reason", "put right", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &words).await
}

/// Rows in the audit of entries that were resolved in olga's name, and the entries of them.
async fn audited(world: &World) -> Result<(i64, i64)> {
    let select = "SELECT count(*), count(DISTINCT subject) FROM operator_audit
                  WHERE subject LIKE 'failed_coupon_issues/%' AND verb = 'resolve' AND actor = 'olga' AND reason = 'put right'
                    AND provenance ->> 'login' = 'COMMAND_LINE'";
    Ok(sqlx::query_as(select).fetch_one(&world.db).await?)
}

/// Which of two processes works on the newest row of a table of jobs; then the other one.
async fn worker_and_other<'a>(
    world: &World,
    table: &str,
    one: &'a Process,
    other: &'a Process,
) -> Result<(&'a Process, &'a Process)> {
    let select = format!("SELECT worker FROM {table} ORDER BY job_id DESC LIMIT 1");
    let worker: Option<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(select)).fetch_one(&world.db).await?;
    let worker = worker.context("it has a worker")?;
    let is_of = |process: &Process| worker.ends_with(&format!("/{}", process.pid()));
    ensure!(is_of(one) != is_of(other), "{worker} is neither {} nor {}", one.pid(), other.pid());
    Ok(if is_of(one) { (one, other) } else { (other, one) })
}

/// Starts services, and waits until each works on jobs: a command leaves them one only then.
async fn serving(world: &World, count: usize) -> Result<Vec<Process>> {
    let mut services = Vec::with_capacity(count);
    for _ in 0..count {
        services.push(world.start_dlq_consumer().await?);
    }
    eventually("the services work on jobs", SOON, async || -> Result<bool> {
        let workers: i64 = sqlx::query_scalar("SELECT count(*) FROM job_workers").fetch_one(&world.db).await?;
        Ok(usize::try_from(workers)? == count)
    })
    .await?;
    Ok(services)
}

/// Waits until the first batch of a settling is done.
async fn first_batch(world: &World) -> Result<()> {
    eventually("the first batch is done", SOON, async || -> Result<bool> {
        Ok(job(world).await?["progress"]["done"] == 500)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_many_rows_is_a_job_in_the_name_of_who_asked_for_it() -> Result<()> {
    let world = World::new().await?;
    let _service = serving(&world, 1).await?;
    let up_to = planted(&world, 1_200).await?;
    let later = planted(&world, 1).await?;

    let resolved = resolve_all(&world, up_to).await?;
    ensure!(resolved.code == Some(0) && resolved.stderr.contains("1200 entries became RESOLVED"), "{resolved:?}");
    ensure!(resolved.stderr.contains("a service does it, as job 1"), "{resolved:?}");
    let job = job(&world).await?;
    assert_eq!(
        (&job["status"], &job["progress"]["done"], &job["created_by"]),
        (&"DONE".into(), &1_200.into(), &"olga".into())
    );
    assert_eq!(audited(&world).await?, (1_200, 1_200));
    let pending: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM failed_coupon_issues WHERE status = 'PENDING'").fetch_all(&world.db).await?;
    assert_eq!(pending, [later], "what came later is not meant");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_whose_worker_is_killed_goes_on_in_another_replica_and_changes_each_row_once() -> Result<()> {
    let world = World::new().await?;
    let [one, other] = &serving(&world, 2).await?[..] else { unreachable!("two were started") };
    let up_to = planted(&world, 1_200).await?;
    let mut held = world.db.begin().await?;
    sqlx::query("SELECT FROM failed_coupon_issues WHERE id = $1 FOR UPDATE").bind(up_to).execute(&mut *held).await?;
    let (resolved, killed) = tokio::join!(resolve_all(&world, up_to), async {
        eventually("two batches are done", SOON, async || -> Result<bool> {
            Ok(job(&world).await?["progress"]["done"] == 1_000)
        })
        .await?;
        let (worker, left) = worker_and_other(&world, "jobs", one, other).await?;
        worker.kill();
        held.rollback().await?;
        eventually("another replica goes on with it", GOES_ON_WITHIN, async || -> Result<bool> {
            let job = job(&world).await?;
            let worker = job["worker"].as_str().unwrap_or_default().to_owned();
            Ok(worker.ends_with(&format!("/{}", left.pid())) && job["status"] == "DONE")
        })
        .await
    });
    killed?;
    let resolved = resolved?;
    ensure!(resolved.code == Some(0) && resolved.stderr.contains("1200 entries became RESOLVED"), "{resolved:?}");
    assert_eq!(audited(&world).await?, (1_200, 1_200));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stops_lets_its_job_go_at_once() -> Result<()> {
    let world = World::new().await?;
    let [one, other] = &serving(&world, 2).await?[..] else { unreachable!("two were started") };
    let up_to = planted(&world, 600).await?;
    let mut held = world.db.begin().await?;
    sqlx::query("SELECT FROM failed_coupon_issues WHERE id = $1 FOR UPDATE").bind(up_to).execute(&mut *held).await?;
    let (resolved, stopped) = tokio::join!(resolve_all(&world, up_to), async {
        first_batch(&world).await?;
        let (worker, left) = worker_and_other(&world, "jobs", one, other).await?;
        worker.terminate(SOON).await?;
        // Before its silence would have been noticed.
        eventually("another replica has taken it", Duration::from_secs(4), async || -> Result<bool> {
            let worker = job(&world).await?["worker"].as_str().unwrap_or_default().to_owned();
            Ok(worker.ends_with(&format!("/{}", left.pid())))
        })
        .await?;
        Ok::<_, anyhow::Error>(held.rollback().await?)
    });
    stopped?;
    resolved?.succeeded()?;
    assert_eq!(audited(&world).await?, (600, 600));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_cancelled_stops_before_its_next_batch() -> Result<()> {
    let world = World::new().await?;
    let _service = serving(&world, 1).await?;
    let up_to = planted(&world, 1_200).await?;
    let first: i64 = up_to - 600;
    let mut held = world.db.begin().await?;
    sqlx::query("SELECT FROM failed_coupon_issues WHERE id = $1 FOR UPDATE").bind(first).execute(&mut *held).await?;
    let (resolved, cancelled) = tokio::join!(resolve_all(&world, up_to), async {
        first_batch(&world).await?;
        let number = job(&world).await?["job_id"].to_string();
        let words = ["job", "cancel", &number, "--reason", "wrong coupon", "--by", "otto"];
        world.run("dlq-consumer", &words).await?.succeeded()?;
        held.rollback().await?;
        let again = world.run("dlq-consumer", &["job", "cancel", "99", "--reason", "x", "--by", "otto"]).await?;
        ensure!(again.code == Some(1) && again.stderr.contains("no job 99"), "{again:?}");
        Ok(())
    });
    cancelled?;
    let resolved = resolved?;
    ensure!(resolved.code == Some(1) && resolved.stderr.contains("was cancelled: wrong coupon"), "{resolved:?}");
    let by: String = sqlx::query_scalar(
        "SELECT actor FROM operator_audit WHERE subject LIKE 'jobs/%' AND change ->> 'to' = 'CANCELLED'",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!((job(&world).await?["status"].as_str(), by.as_str()), (Some("CANCELLED"), "otto"));
    assert_eq!(audited(&world).await?, (500, 500), "no batch was begun after it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_reconciles_rebuilds_and_archives_for_a_command() -> Result<()> {
    let world = World::new().await?;
    let services = Services::start(&world).await?;
    world.open_campaign("SERVED", 10).await?;
    crate::write::accepted(&world, &services.api, "SERVED", "alice").await?;
    issued_rows(&world, "SERVED", 1, SOON).await?;
    let _service = serving(&world, 1).await?;

    let reconciled = world.run("dlq-consumer", &["reconcile", "SERVED", "--apply", "--by", "olga"]).await?;
    ensure!(reconciled.code == Some(0) && reconciled.stderr.contains("redis and postgresql agree"), "{reconciled:?}");
    let rebuilt = world.run("dlq-consumer", &["rebuild", "SERVED", "--yes", "--by", "olga"]).await?;
    for said in
        ["the gate is closed", "waiting for the consumers", "epoch 2 begins", "rebuilt and OPEN: epoch 2, 1 coupons"]
    {
        ensure!(rebuilt.code == Some(0) && rebuilt.stderr.contains(said), "{said}: {rebuilt:?}");
    }
    let archive = ["campaign", "archive", "SERVED", "--reason", "over", "--yes", "--by", "olga"];
    let refused = world.run("dlq-consumer", &archive).await?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("close it first"), "{refused:?}");
    world.run("issuer-api", &["coupon", "close", "SERVED", "--by", "olga"]).await?.succeeded()?;
    let archived = world.run("dlq-consumer", &archive).await?;
    ensure!(archived.code == Some(0) && archived.stderr.contains("has ended for good"), "{archived:?}");
    let kinds: Vec<(String, String)> =
        sqlx::query_as("SELECT kind, status FROM jobs ORDER BY job_id").fetch_all(&world.db).await?;
    let done = |kind: &str| (kind.to_owned(), "DONE".to_owned());
    assert_eq!(kinds, [done("RECONCILE"), done("REBUILD"), done("ARCHIVE")]);
    let by: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT actor FROM operator_audit WHERE subject = 'coupons/SERVED' AND verb ~ '^(rebuild|archive)'",
    )
    .fetch_all(&world.db)
    .await?;
    assert_eq!(by, ["olga"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_workers_look_for_jobs_less_than_once_a_second() -> Result<()> {
    let world = World::new().await?;
    let _dlq_consumer = world.start_dlq_consumer().set("jobs.workers", 3).await?;
    // How often anybody has read the table, and how many seconds have passed, both by the server.
    let looks = async || -> Result<(i64, f64)> {
        let select = "SELECT seq_scan + coalesce(idx_scan, 0), extract(epoch FROM clock_timestamp())::float8
                      FROM pg_stat_user_tables WHERE relname = 'jobs'";
        Ok(sqlx::query_as(select).fetch_one(&world.db).await?)
    };
    // Time has to pass here: it is looks in a while that are counted, and nothing says when the counts are shown.
    tokio::time::sleep(COUNTS_ARE_SHOWN).await;
    let begin = looks().await?;
    tokio::time::sleep(LOOKS_COUNTED_FOR).await;
    let end = looks().await?;
    let (looked, seconds) = (end.0 - begin.0, end.1 - begin.1);
    #[expect(clippy::cast_precision_loss, reason = "some looks")]
    let a_second = looked as f64 / seconds;
    ensure!(looked > 0 && a_second < 1.1, "{looked} looks in {seconds:.1} s");
    Ok(())
}
