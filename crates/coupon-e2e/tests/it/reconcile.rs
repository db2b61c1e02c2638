//! C: comparing Redis and PostgreSQL, and putting right what differs.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    process::command::Output,
    wait::{eventually, pause},
    world::World,
};
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{AFTER_ALL_ATTEMPTS, SOON, Services, issued_rows, write::accepted};

/// Exit code of a reconciliation that leaves drift.
const DRIFT_LEFT: Option<i32> = Some(3);

/// What a reconciliation found: number by kind, for each campaign that differs.
pub(crate) type Drift = BTreeMap<String, BTreeMap<String, u64>>;

/// Reads what `reconcile --output json` prints.
pub(crate) fn drift(output: &Output) -> Result<Drift> {
    let reports: Vec<Value> = serde_json::from_str(&output.stdout).with_context(|| format!("{output:?}"))?;
    let mut found = Drift::new();
    for report in reports {
        for (kind, drift) in report["drift"].as_object().context("drift by kind")? {
            let code = report["coupon"].as_str().context("a coupon")?.to_owned();
            found.entry(code).or_default().insert(kind.clone(), drift["found"].as_u64().context("a count")?);
        }
    }
    Ok(found)
}

/// The one difference of one campaign.
pub(crate) fn one(code: &str, kind: &str) -> Drift {
    Drift::from([(code.to_owned(), BTreeMap::from([(kind.to_owned(), 1)]))])
}

pub(crate) async fn reconcile(world: &World, words: &[&str]) -> Result<Output> {
    world.run("dlq-consumer", &[&["reconcile", "--output", "json", "--by", "olga"], words].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_an_orphan_in_redis_is_published_again_and_issued() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ORPHAN", 10).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "ORPHAN", "somebody").await?;
    issued_rows(&world, "ORPHAN", 1, SOON).await?;
    // Its event was lost, and so was its outbox entry.
    let id = Uuid::now_v7();
    world.stock.set_holder("ORPHAN", "lost", Some(id)).await?;

    let dry = reconcile(&world, &["ORPHAN"]).await?;
    assert_eq!((dry.code, drift(&dry)?), (DRIFT_LEFT, one("ORPHAN", "ORPHAN")), "{}", dry.stderr);
    ensure!(dry.stdout.contains(&id.to_string()), "the example is named: {}", dry.stdout);
    assert_eq!(world.stock.of("ORPHAN").await?.outbox.len(), 0, "a dry run changes nothing");

    let applied = reconcile(&world, &["ORPHAN", "--apply"]).await?;
    assert_eq!((applied.code, drift(&applied)?), (Some(0), one("ORPHAN", "ORPHAN")), "{}", applied.stderr);
    issued_rows(&world, "ORPHAN", 2, SOON).await?;
    let again = reconcile(&world, &["ORPHAN", "--apply"]).await?;
    assert_eq!((again.code, drift(&again)?), (Some(0), Drift::new()), "{}", again.stderr);
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (2, 8));
    let history: Vec<(bool, i64, Value)> =
        sqlx::query_as("SELECT applied, marks, drift FROM reconciliations ORDER BY id").fetch_all(&world.db).await?;
    assert_eq!(history.iter().map(|row| row.0).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(history[1].2["ORPHAN"]["repaired"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_a_row_without_a_mark_gets_it_back_and_the_stock_is_right_again() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BARE", 2).await?;
    let services = Services::start(&world).await?;
    let id = accepted(&world, &services.api, "BARE", "somebody").await?.request_id;
    issued_rows(&world, "BARE", 1, SOON).await?;
    world.stock.set_holder("BARE", "somebody", None).await?;
    assert_eq!(world.stock.of("BARE").await?.left(), Some(2));
    let dry = reconcile(&world, &["BARE"]).await?;
    assert_eq!((dry.code, drift(&dry)?), (DRIFT_LEFT, one("BARE", "MISSING_MARK")));
    let applied = reconcile(&world, &["BARE", "--apply"]).await?;
    assert_eq!(applied.code, Some(0), "{}", applied.stderr);
    let stock = world.stock.of("BARE").await?;
    assert_eq!((stock.left(), stock.holder_of("somebody")), (Some(1), id));
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c3_events_under_way_are_never_called_drift() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FLOW", 1000).await?;
    let api = world.start_api().await?;
    for number in 0..20 {
        accepted(&world, &api, "FLOW", &format!("early-{number}")).await?;
    }
    // Nobody consumes: what cannot be judged is said, and is no drift.
    let waiting = reconcile(&world, &["FLOW", "--apply", "--wait", "1"]).await?;
    assert_eq!((waiting.code, drift(&waiting)?), (Some(4), Drift::new()), "{}", waiting.stderr);
    ensure!(waiting.stderr.contains("20 requests could not be judged"), "{}", waiting.stderr);

    // Some are in back-off, some on their way through the dead letter topic, and more and more are asked for.
    for number in 0..5 {
        world.fail_member("FLOW", &format!("early-{number}"), FailMode::Always).await?;
    }
    let (_issue, _dlq) =
        tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    let mut asking = JoinSet::new();
    for number in 0..200 {
        let member = world.member(&api, &format!("late-{number}"))?;
        asking.spawn(async move {
            pause(Duration::from_millis(40 * number)).await;
            member.ask("FLOW").await
        });
    }
    for _ in 0..3 {
        let meanwhile = reconcile(&world, &["FLOW", "--apply", "--wait", "50"]).await?;
        assert_eq!((meanwhile.code, drift(&meanwhile)?), (Some(0), Drift::new()), "{}", meanwhile.stderr);
    }
    ensure!(asking.join_all().await.iter().all(coupon_e2e::answers::Answer::is_held));
    issued_rows(&world, "FLOW", 215, AFTER_ALL_ATTEMPTS).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!(verdict.compensated, 5);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c6_of_two_reconcilers_one_works() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ONCE", 100).await?;
    let api = world.start_api().await?;
    accepted(&world, &api, "ONCE", "somebody").await?;
    // Without a consumer each would wait to the end.
    let (first, second) =
        tokio::join!(reconcile(&world, &["ONCE", "--wait", "4"]), reconcile(&world, &["ONCE", "--wait", "4"]));
    let outputs = [first?, second?];
    let busy = outputs.iter().filter(|output| output.stderr.contains("somebody else is at the data of ONCE"));
    assert_eq!(busy.count(), 1, "{outputs:?}");
    assert!(outputs.iter().all(|output| output.code == Some(4)), "{outputs:?}");

    // The same for the service: two replicas, one leader at a time.
    let launch = || world.start_dlq_consumer().set("reconcile.every_ms", 1000).set("reconcile.wait_ms", 0);
    let (_one, _other, _issue) =
        tokio::try_join!(launch().into_future(), launch().into_future(), world.start_issue_consumer().into_future())?;
    eventually("it has been compared a few times", SOON, async || -> Result<bool> {
        let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM reconciliations WHERE started_by = 'dlq-consumer'")
            .fetch_one(&world.db)
            .await?;
        Ok(runs >= 4)
    })
    .await?;
    let overlapping: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM reconciliations a JOIN reconciliations b
         ON a.id < b.id AND a.started_at < b.finished_at AND b.started_at < a.finished_at",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!(overlapping, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_that_somebody_left_closed_is_found_and_opened_as_the_row_says() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AJAR", 10).await?;
    let _services = Services::start(&world).await?;
    world.stock.set_meta("AJAR", &[("status", "CLOSED")]).await?;
    let dry = reconcile(&world, &["AJAR"]).await?;
    assert_eq!((dry.code, drift(&dry)?), (DRIFT_LEFT, one("AJAR", "GATE_DIFFERS")), "{}", dry.stderr);
    let applied = reconcile(&world, &["AJAR", "--apply"]).await?;
    assert_eq!((applied.code, drift(&applied)?), (Some(0), one("AJAR", "GATE_DIFFERS")), "{}", applied.stderr);
    assert_eq!(world.stock.of("AJAR").await?.meta["status"], "OPEN");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_puts_data_right_without_a_name() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("NAMED", 10).await?;
    world.stock.set_meta("NAMED", &[("total", "7")]).await?;
    let nameless = async |words: &[&str]| {
        world.run_with("dlq-consumer", &[&["reconcile", "NAMED"], words].concat(), &[("USER", "")]).await
    };
    let refused = nameless(&["--apply"]).await?;
    ensure!(refused.code == Some(2) && refused.stderr.contains("say who with --by"), "{refused:?}");
    assert_eq!(world.stock.of("NAMED").await?.number("total"), Some(7), "nothing was changed");
    // Looking takes no name.
    assert_eq!(nameless(&[]).await?.code, DRIFT_LEFT);
    nameless(&["--apply", "--by", "olga"]).await?.succeeded()?;
    assert_eq!(world.stock.of("NAMED").await?.number("total"), Some(10));
    let by: Vec<String> =
        sqlx::query_scalar("SELECT started_by FROM reconciliations WHERE applied").fetch_all(&world.db).await?;
    assert_eq!(by, ["olga"]);
    Ok(())
}
