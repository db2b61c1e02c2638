//! The crash sweep of the commands: each may be cut off anywhere and is then repeated.

use anyhow::{Context, Result, ensure};
use coupon_e2e::world::World;

use super::{points::OF_COMMANDS, sweep::ABORTED};
use crate::{
    SOON, issued_rows,
    rows::{Entry, Letter},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_may_end_at_each_of_their_points_and_are_repeated() -> Result<()> {
    for effect in OF_COMMANDS {
        for moment in ["before", "after"] {
            let point = format!("{effect}:{moment}");
            command(effect, &point).await.with_context(|| point.clone())?;
            println!("swept {point}");
        }
    }
    Ok(())
}

async fn command(effect: &str, point: &str) -> Result<()> {
    let world = World::new().await?;
    let create: &[&str] = &["coupon", "create", "SWEPT", "--total", "5"];
    let open: &[&str] = &["coupon", "open", "SWEPT"];
    let close: &[&str] = &["coupon", "close", "SWEPT"];
    let total: &[&str] = &["coupon", "set-total", "SWEPT", "7"];
    let crash = [("COUPON_CRASH_AT", point)];
    match effect {
        "create a coupon" => {
            interrupted(&world, "issuer-api", create, &crash).await?;
            // Done before the crash, or now.
            let again = world.run("issuer-api", create).await?;
            ensure!(again.code == Some(0) || again.stderr.contains("already"), "{again:?}");
            world.run("issuer-api", open).await?.succeeded()?;
        }
        "claim a version of the total" | "set the total in redis" | "settle the total" => {
            world.open_campaign("SWEPT", 5).await?;
            repeated(&world, total, &crash).await?;
            assert_eq!(world.stock.of("SWEPT").await?.number("total"), Some(7));
        }
        "set the window" | "set the window in redis" => {
            world.open_campaign("SWEPT", 5).await?;
            let window: &[&str] = &["coupon", "set-window", "SWEPT", "--closes-at", "2100-01-01T00:00:00Z"];
            repeated(&world, window, &crash).await?;
            assert_eq!(world.stock.of("SWEPT").await?.number("closes_at"), Some(4_102_444_800_000));
        }
        "set the admission" => {
            world.open_campaign("SWEPT", 5).await?;
            repeated(&world, &["coupon", "set-admission", "SWEPT", "off"], &crash).await?;
        }
        "delete a draft" => {
            world.run("issuer-api", create).await?.succeeded()?;
            let delete: &[&str] = &["coupon", "delete", "SWEPT"];
            interrupted(&world, "issuer-api", delete, &crash).await?;
            let again = world.run("issuer-api", delete).await?;
            ensure!(again.code == Some(0) || again.stderr.contains("there is no coupon SWEPT"), "{again:?}");
            world.open_campaign("SWEPT", 5).await?;
        }
        "copy marks" => {
            issued_and_lost(&world).await?;
            repeated(&world, open, &crash).await?;
        }
        "settle entries" => return settle(&world, &crash).await,
        "purge a batch" => return purge(&world, &crash).await,
        _ => {
            world.run("issuer-api", create).await?.succeeded()?;
            repeated(&world, open, &crash).await?;
            if ["change a coupon's status", "set the gate"].contains(&effect) {
                repeated(&world, close, &crash).await?;
                assert_eq!(world.stock.of("SWEPT").await?.meta["status"], "CLOSED");
                world.run("issuer-api", open).await?.succeeded()?;
            }
        }
    }
    assert_eq!(world.stock.of("SWEPT").await?.meta["status"], "OPEN");
    let (api, _issue) = tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    ensure!(world.member(&api, "somebody")?.ask("SWEPT").await.is_held());
    let rows = i64::from(effect == "copy marks") * 2 + 1;
    issued_rows(&world, "SWEPT", rows, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

async fn interrupted(world: &World, binary: &str, words: &[&str], crash: &[(&str, &str)]) -> Result<()> {
    let output = world.run_with(binary, words, crash).await?;
    ensure!(output.status.contains(ABORTED), "it never came to the point: {output:?}");
    Ok(())
}

async fn repeated(world: &World, words: &[&str], crash: &[(&str, &str)]) -> Result<()> {
    interrupted(world, "issuer-api", words, crash).await?;
    world.run("issuer-api", words).await?.succeeded().map(drop)
}

/// Issues two coupons, empties Redis, and prepares the row for another filling, as a rebuild does.
async fn issued_and_lost(world: &World) -> Result<()> {
    world.open_campaign("SWEPT", 5).await?;
    {
        let (api, _issue) =
            tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
        for member in ["one", "two"] {
            ensure!(world.member(&api, member)?.ask("SWEPT").await.is_held());
        }
        issued_rows(world, "SWEPT", 2, SOON).await?;
    }
    world.stock.flush().await?;
    sqlx::query("UPDATE coupons SET status = 'OPENING', epoch = epoch + 1").execute(&world.db).await?;
    Ok(())
}

/// An operator's change of a failed request, cut off and repeated: one change, one entry in the audit.
async fn settle(world: &World, crash: &[(&str, &str)]) -> Result<()> {
    let entry = Entry::default().plant(world).await?.to_string();
    let words: &[&str] = &["resolve", &entry, "--reason", "by hand", "--by", "sweep"];
    interrupted(world, "dlq-consumer", words, crash).await?;
    world.run("dlq-consumer", words).await?.succeeded()?;
    let (status, audited): (String, i64) = sqlx::query_as(
        "SELECT status, (SELECT count(*) FROM operator_audit WHERE verb = 'resolve') FROM failed_coupon_issues",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!((status.as_str(), audited), ("RESOLVED", 1));
    Ok(())
}

/// An old entry and its dead letter are purged, cut off and repeated: both are gone, once, and the young ones are not.
async fn purge(world: &World, crash: &[(&str, &str)]) -> Result<()> {
    for days in [40, 20] {
        let request_id = Some(uuid::Uuid::now_v7());
        let entry = Entry { status: "IGNORED", days, request_id, ..Entry::default() }.plant(world).await?;
        let letter = Letter { status: "COMPENSATED", days, request_id, entry: Some(entry), ..Letter::default() };
        letter.plant(world).await?;
    }
    let words: &[&str] = &["purge", "--yes", "--by", "sweep"];
    interrupted(world, "dlq-consumer", words, crash).await?;
    world.run("dlq-consumer", words).await?.succeeded()?;
    let left: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM failed_coupon_issues), (SELECT count(*) FROM dlq_events),
                (SELECT count(*) FROM operator_audit WHERE verb = 'purge')",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!(left, (1, 1, 2));
    Ok(())
}
