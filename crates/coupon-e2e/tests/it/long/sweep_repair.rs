//! The crash sweep of the repairing verbs: replay, reconcile --apply, rebuild, archive. Each may be cut off anywhere and is
//! then repeated.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    kafka::record::{Event, NewRecord},
    oracle::Kind,
    wait::eventually,
    world::World,
};
use uuid::Uuid;

use super::sweep::ABORTED;
use crate::{
    SOON, Services, issued_rows,
    replay::{given_up, statuses},
    write::accepted,
};

/// Failpoints of a replay of requests.
pub const OF_REPLAY: &[&str] =
    &["create a replay job", "note a heartbeat of a replay", "settle replays", "move a replay job"];
/// Of a replay on one row, around the script that reserves for it.
pub const OF_REPLAYED_ROW: &[&str] = &["link a replay", "reserve", "note a replay"];
/// Failpoints of a replay of dead letters.
pub const OF_DEAD_LETTERS: &[&str] = &["settle a letter", "note a refused letter"];
/// Failpoints of `reconcile --apply`.
pub const OF_RECONCILE: &[&str] =
    &["promise again", "restore a mark", "mend a counter", "mend a sequence", "record a reconciliation"];
/// Failpoints of `rebuild`.
pub const OF_REBUILD: &[&str] = &[
    "adopt data",
    "begin a rebuild",
    "move the epoch on",
    "begin a fill",
    "copy marks",
    "set the gate",
    "finish a rebuild",
];
/// Failpoints of `campaign archive`.
pub const OF_ARCHIVE: &[&str] = &["archive a campaign", "forget a coupon", "make a coupon unknown"];

const MOMENTS: [&str; 2] = ["before", "after"];

async fn interrupted(world: &World, words: &[&str], point: &str) -> Result<()> {
    let output = world.run_with("dlq-consumer", words, &[("COUPON_CRASH_AT", point)]).await?;
    ensure!(output.status.contains(ABORTED), "{point}: it never came to the point: {output:?}");
    Ok(())
}

/// Whatever the instant, a resumed or a new replay leaves no gap, no second coupon, and no row PENDING for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_replay_may_end_at_each_of_its_points_and_is_resumed_without_gaps() -> Result<()> {
    swept(OF_REPLAY).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p8_a_replay_that_ends_around_the_script_issues_no_second_coupon_and_leaves_no_row_pending() -> Result<()> {
    swept(OF_REPLAYED_ROW).await
}

async fn swept(effects: &[&str]) -> Result<()> {
    for effect in effects {
        for moment in MOMENTS {
            let point = format!("{effect}:{moment}");
            replayed(&point).await.with_context(|| point.clone())?;
            println!("swept {point}");
        }
    }
    Ok(())
}

async fn replayed(point: &str) -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SWEPT", 9).await?;
    let services = Services::start(&world).await?;
    given_up(&world, &services.api, "SWEPT", &["one", "two", "three"]).await?;
    let words: &[&str] = &["replay", "--coupon", "SWEPT", "--reason", "x", "--by", "sweep", "--yes"];
    interrupted(&world, words, point).await?;
    let job: Option<String> =
        sqlx::query_scalar("SELECT job_id::text FROM replay_jobs").fetch_optional(&world.db).await?;
    let goes_on: Vec<&str> = match &job {
        Some(job) => vec!["replay", "resume", job, "--by", "sweep"],
        None => words.to_vec(),
    };
    let resumed = world.run("dlq-consumer", &goes_on).await?;
    ensure!(resumed.code == Some(0) || resumed.stderr.contains("is DONE"), "{resumed:?}");
    eventually("all are resolved", SOON, async || -> Result<bool> {
        Ok(statuses(&world).await?.iter().all(|status| status == "RESOLVED"))
    })
    .await?;
    issued_rows(&world, "SWEPT", 3, SOON).await?;
    let replays: i64 = sqlx::query_scalar("SELECT count(*) FROM replays").fetch_one(&world.db).await?;
    assert_eq!(replays, 3, "one each");
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (3, 6));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_letters_may_end_at_each_of_its_points() -> Result<()> {
    for effect in OF_DEAD_LETTERS {
        for moment in MOMENTS {
            let point = format!("{effect}:{moment}");
            letters(&point).await.with_context(|| point.clone())?;
            println!("swept {point}");
        }
    }
    Ok(())
}

async fn letters(point: &str) -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SWEPT", 9).await?;
    let services = Services::start(&world).await?;
    // One that can be written once its campaign is there, and one of which there is none.
    let (late, never) = (Event::of("LATE", "early", 1), Event::of("NEVER", "nobody", 1));
    world.dlq.write_all(&[NewRecord::event(&late), NewRecord::event(&never)]).await?;
    eventually("both are parked", SOON, async || -> Result<bool> {
        let parked: i64 =
            sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE status = 'PARKED'").fetch_one(&world.db).await?;
        Ok(parked == 2)
    })
    .await?;
    world.open_campaign("LATE", 5).await?;
    world.stock.set_holder("LATE", "early", Some(late.request_id)).await?;
    drop(services);
    let words: &[&str] = &["replay", "--dead-letters", "--reason", "x", "--by", "sweep", "--yes"];
    interrupted(&world, words, point).await?;
    world.run("dlq-consumer", &["replay", "resume", "1", "--by", "sweep"]).await?;
    let mut found: Vec<String> = sqlx::query_scalar("SELECT status FROM dlq_events").fetch_all(&world.db).await?;
    found.sort();
    assert_eq!(found, ["PARKED", "RECOVERED"]);
    issued_rows(&world, "LATE", 1, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconciliation_may_end_at_each_of_its_points_and_is_repeated() -> Result<()> {
    for effect in OF_RECONCILE {
        for moment in MOMENTS {
            let point = format!("{effect}:{moment}");
            reconciled(&point).await.with_context(|| point.clone())?;
            println!("swept {point}");
        }
    }
    Ok(())
}

async fn reconciled(point: &str) -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SWEPT", 9).await?;
    let services = Services::start(&world).await?;
    accepted(&world, &services.api, "SWEPT", "somebody").await?;
    issued_rows(&world, "SWEPT", 1, SOON).await?;
    world.stock.set_holder("SWEPT", "somebody", None).await?;
    world.stock.set_holder("SWEPT", "lost", Some(Uuid::now_v7())).await?;
    // No Redis gave such a sequence.
    sqlx::query("UPDATE coupons SET issued_quantity = 4, high_seq = 9007199254740991").execute(&world.db).await?;
    let words: &[&str] = &["reconcile", "SWEPT", "--apply", "--by", "sweep"];
    interrupted(&world, words, point).await?;
    let again = world.run("dlq-consumer", words).await?;
    ensure!(again.code == Some(0), "{again:?}");
    issued_rows(&world, "SWEPT", 2, SOON).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (2, 7));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_may_end_at_each_of_its_points_and_is_gone_on_with() -> Result<()> {
    for effect in OF_REBUILD {
        for moment in MOMENTS {
            let point = format!("{effect}:{moment}");
            rebuilt(&point).await.with_context(|| point.clone())?;
            println!("swept {point}");
        }
    }
    Ok(())
}

async fn rebuilt(point: &str) -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SWEPT", 9).await?;
    let services = Services::start(&world).await?;
    for member in ["one", "two"] {
        accepted(&world, &services.api, "SWEPT", member).await?;
    }
    issued_rows(&world, "SWEPT", 2, SOON).await?;
    // One holder entry is wrong, one is gone.
    world.stock.set_holder("SWEPT", "one", Some(Uuid::now_v7())).await?;
    world.stock.set_holder("SWEPT", "two", None).await?;
    let words: &[&str] = &["rebuild", "SWEPT", "--by", "sweep", "--yes"];
    interrupted(&world, words, point).await?;
    world.run("dlq-consumer", words).await?.succeeded()?;
    accepted(&world, &services.api, "SWEPT", "three").await?;
    issued_rows(&world, "SWEPT", 3, SOON).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.stock), (3, 6));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_campaign_may_end_at_each_of_its_points_and_is_repeated() -> Result<()> {
    for effect in OF_ARCHIVE {
        for moment in MOMENTS {
            let point = format!("{effect}:{moment}");
            let world = World::new().await?;
            world.open_campaign("SWEPT", 9).await?;
            let services = Services::start(&world).await?;
            accepted(&world, &services.api, "SWEPT", "somebody").await?;
            issued_rows(&world, "SWEPT", 1, SOON).await?;
            world.coupon(&["close", "SWEPT"]).await?.succeeded()?;
            let words: &[&str] = &["campaign", "archive", "SWEPT", "--reason", "over", "--by", "sweep", "--yes"];
            interrupted(&world, words, &point).await?;
            world.run("dlq-consumer", words).await?.succeeded()?;
            assert_eq!(world.stock.keys().await?, 0, "{point}");
            world.verdict().await?.must_hold_except(&[Kind::RowWithoutHolder])?;
            println!("swept {point}");
        }
    }
    Ok(())
}
