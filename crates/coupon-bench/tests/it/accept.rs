//! `coupon-bench accept`, `refuse`, `limits`, `rush` and `rest`.

use std::fs;

use anyhow::{Context, Result};
use coupon_e2e::{process::signal, wait::eventually, world::World};
use serde_json::Value;
use sqlx::{Connection, PgConnection};

use crate::bench::{Bench, SOON, ended};

#[tokio::test]
async fn another_system_is_asked_and_only_what_a_client_sees_is_checked() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("OTHER", 50).await?;
    let api = world.start_api().await?;
    let secret = world.secret_file().display().to_string();
    let ask = async |total: &str| {
        let there = ["accept", "--url", api.http_url()?, "--coupon", "OTHER", "--secret-file", &secret];
        let tokens = ["--issuer", world.signer.issuer(), "--audience", world.signer.audience()];
        Bench::run(&[&there[..], &tokens, &["--rate", "100", "--seconds", "1", "--total", total]].concat()).await
    };
    let first = ask("50").await?;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stdout.contains("202: 50, 409: 50"), "{}", first.stdout);
    assert!(first.stdout.contains("no oracle"), "{}", first.stdout);
    // The same members again: those who have one are told so.
    let again = ask("49").await?;
    assert_eq!(again.code, Some(1), "{}", again.stdout);
    assert!(again.stdout.contains("200: 50, 409: 50"), "{}", again.stdout);
    assert!(again.stderr.contains("50 members hold a coupon of 49"), "{}", again.stderr);
    Ok(())
}

#[tokio::test]
async fn each_run_is_judged_by_the_oracle() -> Result<()> {
    let _alone = Bench::new().await?;
    let arguments = "accept --rounds 1 --seconds 0.3 --half-seconds 1";
    let run = Bench::run(&arguments.split(' ').collect::<Vec<_>>()).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr.matches("lost=0 oversold=0 duplicates=0").count(), 2, "{}", run.stderr);
    Ok(())
}

#[tokio::test]
async fn a_rush_sells_every_coupon_and_is_judged_by_the_oracle() -> Result<()> {
    let bench = Bench::new().await?;
    let file = bench.folder.path().join("rush.json").display().to_string();
    let arguments = "rush --rounds 1 --members 2000 --coupons 300 --within 0.2 --connections 64 --seconds 0.3 --json";
    let run = Bench::run(&arguments.split(' ').chain([&*file]).collect::<Vec<_>>()).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("the rush: 202: 300, 409: 1700"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("lost=0 oversold=0 duplicates=0").count(), 1, "{}", run.stderr);
    for (id, expected) in [("connections", 64.0), ("failed", 0.0), ("unanswered", 0.0), ("others", 0.0)] {
        assert_eq!(figure(&file, &format!("rush.{id}"))?, Some(expected), "{id}");
    }
    assert!(figure(&file, "rush.refused_most_ms")? >= figure(&file, "rush.refused_p50_ms")?);
    Ok(())
}

#[tokio::test]
async fn an_issuer_api_at_rest_is_measured_with_one_campaign_and_with_many() -> Result<()> {
    let bench = Bench::new().await?;
    let file = bench.folder.path().join("rest.json").display().to_string();
    let arguments = "rest --rounds 1 --campaigns 3 --processes 2 --seconds 2 --json";
    let run = Bench::run(&arguments.split(' ').chain([&*file]).collect::<Vec<_>>()).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(figure(&file, "rest.campaigns")?, Some(3.0));
    for id in ["rest.one_commands", "rest.many_commands", "rest.one_questions", "rest.many_questions"] {
        assert!(figure(&file, id)? > Some(0.0), "{id}");
    }
    Ok(())
}

/// A figure of the one round in this file.
fn figure(file: &str, id: &str) -> Result<Option<f64>> {
    let all: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let figures = all["figures"].as_array().context("a list of figures")?;
    Ok(figures.iter().find(|figure| figure["id"] == id).context(id.to_owned())?["rounds"][0].as_f64())
}

#[tokio::test]
async fn whoever_held_a_coupon_holds_it_after_all_the_refusals() -> Result<()> {
    let _alone = Bench::new().await?;
    let run = Bench::run(&["refuse", "--rounds", "1", "--seconds", "0.3"]).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("100 holders hold what they held"), "{}", run.stderr);
    Ok(())
}

#[tokio::test]
async fn members_may_have_tokens_of_any_algorithm() -> Result<()> {
    let _alone = Bench::new().await?;
    for algorithm in ["es256", "eddsa"] {
        let run = Bench::run(&["refuse", "--rounds", "1", "--seconds", "0.3", "--algorithm", algorithm]).await?;
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stderr.contains("100 holders hold what they held"), "{}", run.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_measured_while_another_run_measures_on_the_same_servers() -> Result<()> {
    let bench = Bench::new().await?;
    let mut other = PgConnection::connect(&bench.servers.database_url).await?;
    sqlx::query("SELECT pg_advisory_lock(x'62656e6368'::bigint)").execute(&mut other).await?;
    for (before, command) in (0_i64..).zip(["limits", "drain", "repair"]) {
        let child = Bench::command(&[command]).spawn()?;
        // PostgreSQL sees that somebody who waited is gone when there is no more to wait for.
        let waiting = "SELECT count(*) > $1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                       AND classid = x'62'::int::oid AND objid = x'656e6368'::int::oid";
        eventually("it waits", SOON, async || -> Result<Option<()>> {
            let waits: bool = sqlx::query_scalar(waiting).bind(before).fetch_one(&mut other).await?;
            Ok(waits.then_some(()))
        })
        .await?;
        signal::send("INT", child.id().context("it runs")?)?;
        let run = ended(child.wait_with_output()).await?;
        assert_eq!(run.code, Some(1));
        assert!(run.stderr.contains("another coupon-bench measures on these servers"), "{}", run.stderr);
        bench.is_as_before(&run).await?;
    }
    Ok(())
}
