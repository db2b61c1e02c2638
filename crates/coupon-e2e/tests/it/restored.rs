//! C8: PostgreSQL is restored to an earlier moment, and the steps of the runbook bring the promises back.

use std::process::Stdio;

use anyhow::{Result, ensure};
use coupon_e2e::{process::Process, wait::eventually, world::World};
use tokio::process::Command;

use crate::{
    SOON, Services, issued_rows,
    rebuild::{rebuild, status},
    replay::{given_up, replay},
    write::accepted,
};

/// One of PostgreSQL's own tools, with the world's database.
async fn tool(name: &str, words: &[&str]) -> Result<()> {
    let output = Command::new(name).args(words).stdin(Stdio::null()).output().await?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Dumps the world's database as it is now; returns the path of the file.
async fn back_up(world: &World) -> Result<String> {
    let file = world.folder().join("a-minute-ago.dump").display().to_string();
    tool("pg_dump", &["--format=custom", "--schema=public", "--file", &file, "--dbname", &world.database_url]).await?;
    Ok(file)
}

async fn restore(world: &World, file: &str) -> Result<()> {
    let words = ["--clean", "--if-exists", "--single-transaction", "--dbname", &world.database_url, file];
    tool("pg_restore", &words).await
}

/// Both groups read again from the beginning of what the topics keep, which is long before the moment of the copy.
async fn rewind(world: &World) -> Result<()> {
    for (topic, service) in [(&world.topic, "issue-consumer"), (&world.dlq, "dlq-consumer")] {
        let group = world.group_of(service);
        for (partition, _) in topic.committed(&group).await? {
            topic.commit(&group, partition, 0).await?;
        }
    }
    Ok(())
}

async fn start(world: &World) -> Result<(Process, Process)> {
    tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())
}

async fn stop(issue: Process, dlq: Process) -> Result<()> {
    issue.terminate(SOON).await?;
    dlq.terminate(SOON).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c8_postgresql_restored_to_a_minute_ago_the_steps_of_the_runbook_bring_the_promises_back() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("RESTORED", 40).await?;
    world.open_campaign("RAISED", 1).await?;
    let services = Services::start(&world).await?;
    let api = &services.api;
    for number in 0..10 {
        accepted(&world, api, "RESTORED", &format!("before-{number}")).await?;
    }
    given_up(&world, api, "RESTORED", &["unlucky-before"]).await?;
    issued_rows(&world, "RESTORED", 10, SOON).await?;
    let copy = back_up(&world).await?;

    // What PostgreSQL is going to forget: rows, decisions, a raised total, a campaign, and a whole rebuild.
    for number in 0..10 {
        accepted(&world, api, "RESTORED", &format!("after-{number}")).await?;
    }
    given_up(&world, api, "RESTORED", &["unlucky-after"]).await?;
    issued_rows(&world, "RESTORED", 20, SOON).await?;
    rebuild(&world, "RESTORED").await?.succeeded()?;
    world.set_total("RAISED", 3).await?.succeeded()?;
    // Its unit is sold to somebody else.
    given_up(&world, api, "RAISED", &["unlucky-raised"]).await?;
    world.open_campaign("NEWBORN", 5).await?;
    for number in 0..3 {
        accepted(&world, api, "RESTORED", &format!("epoch-2-{number}")).await?;
        accepted(&world, api, "RAISED", &format!("raised-{number}")).await?;
        accepted(&world, api, "NEWBORN", &format!("newborn-{number}")).await?;
    }
    for (code, rows) in [("RESTORED", 23), ("RAISED", 3), ("NEWBORN", 3)] {
        issued_rows(&world, code, rows, SOON).await?;
    }

    // The steps: consumers down, database back, campaigns and totals as they were, consumers up, rebuilds.
    let Services { api, issue_consumer, dlq_consumer } = services;
    stop(issue_consumer, dlq_consumer).await?;
    restore(&world, &copy).await?;
    for number in 0..3 {
        accepted(&world, &api, "RESTORED", &format!("meanwhile-{number}")).await?;
    }
    world.create_campaign("NEWBORN", 5, &[]).await?;
    world.set_total("RAISED", 3).await?.succeeded()?;
    let (issue, dlq) = start(&world).await?;
    for code in ["RESTORED", "RAISED", "NEWBORN"] {
        if rebuild(&world, code).await?.code != Some(0) {
            // What came meanwhile was of an epoch that the row had not heard of yet.
            replay(&world, &["--dead-letters", "--coupon", code]).await?;
            rebuild(&world, code).await?.succeeded()?;
        }
        assert_eq!(status(&world, code).await?, "OPEN", "{code}");
    }
    // Everybody of whom Redis knew has their coupon. Now the topics tell what else there was.
    stop(issue, dlq).await?;
    rewind(&world).await?;
    let _running = start(&world).await?;
    for code in ["RESTORED", "NEWBORN"] {
        accepted(&world, &api, code, "afterwards").await?;
    }
    ensure!(world.member(&api, "afterwards")?.ask("RAISED").await.is_refused_as(409, "SOLD_OUT"));
    for (code, rows) in [("RESTORED", 27), ("RAISED", 3), ("NEWBORN", 4)] {
        issued_rows(&world, code, rows, SOON).await?;
    }
    eventually("the forgotten compensations are decided as they were", SOON, async || -> Result<bool> {
        let members = "SELECT member_id FROM coupon_issues WHERE decision = 'COMPENSATED' ORDER BY member_id";
        let members: Vec<String> = sqlx::query_scalar(members).fetch_all(&world.db).await?;
        Ok(members == ["unlucky-after", "unlucky-before", "unlucky-raised"])
    })
    .await?;
    let verdict = world.quiet(SOON * 2, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (34, 3));
    Ok(())
}
