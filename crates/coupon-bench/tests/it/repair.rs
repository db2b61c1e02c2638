//! Tests of `coupon-bench repair`.

use std::fs;

use anyhow::{Context, Result};
use coupon_e2e::{process::signal, wait::eventually};
use serde_json::Value;

use crate::bench::{Bench, SOON, ended};

const SMALL: [&str; 5] = ["repair", "--members", "1000", "--missing", "10"];

#[tokio::test]
async fn a_verb_that_ends_well_without_having_repaired_is_no_result() -> Result<()> {
    let bench = Bench::new().await?;
    let program = bench.program("exit 0")?;
    let run = Bench::run(&[&SMALL[..], &["--dlq-consumer", program.to_str().unwrap()]].concat()).await?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{}", run.stderr);
    // The first verb has nothing to repair; the second one does.
    assert!(run.stderr.contains("round 1 of 3: reconcile: "), "{}", run.stderr);
    assert!(run.stderr.contains("reconcile --apply") && run.stderr.contains("holder_entries: 990,"), "{}", run.stderr);
    bench.is_as_before(&run).await
}

#[tokio::test]
async fn a_verb_that_fails_is_shown_and_nothing_is_left_behind() -> Result<()> {
    let bench = Bench::new().await?;
    let program = bench.program("echo \"drift in $KAFKA_BROKERS: $*\" >&2; exit 3")?;
    let run = Bench::run(&[&SMALL[..], &["--dlq-consumer", program.to_str().unwrap()]].concat()).await?;
    assert_eq!(run.code, Some(1));
    let said = format!("drift in {}: --set kafka.topic=it-", bench.servers.kafka_brokers);
    assert!(run.stderr.contains("exit status: 3") && run.stderr.contains(&said), "{}", run.stderr);
    bench.is_as_before(&run).await
}

#[tokio::test]
async fn a_run_that_is_stopped_removes_everything_and_ends_the_verb() -> Result<()> {
    let bench = Bench::new().await?;
    let file = bench.folder.path().join("pid");
    let program = bench.program(&format!("echo $$ >{}; exec sleep 600", file.display()))?;
    for name in ["INT", "TERM"] {
        fs::write(&file, "")?;
        let arguments = [&SMALL[..], &["--dlq-consumer", program.to_str().unwrap()]].concat();
        let child = Bench::command(&arguments).spawn()?;
        let pid = eventually("the verb runs", SOON, async || -> Result<Option<u32>> {
            Ok(fs::read_to_string(&file)?.trim().parse().ok())
        })
        .await?;
        signal::send(name, child.id().unwrap())?;
        let run = ended(child.wait_with_output()).await?;
        assert_eq!(run.code, Some(1));
        assert!(run.stderr.contains(&format!("stopped by SIG{name}")), "{}", run.stderr);
        let gone = || fs::read_to_string(format!("/proc/{pid}/comm")).map_or(true, |comm| comm.trim() != "sleep");
        eventually("the verb has ended", SOON, async || gone()).await?;
        bench.is_as_before(&run).await?;
    }
    Ok(())
}

#[tokio::test]
async fn without_an_address_the_way_to_get_it_is_said() -> Result<()> {
    let run = ended(Bench::command(&SMALL).env_remove("REDIS_URL").output()).await?;
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("REDIS_URL") && run.stderr.contains("scripts/stack env"), "{}", run.stderr);
    Ok(())
}

#[tokio::test]
async fn each_verb_is_measured_and_the_campaign_is_whole_after_it() -> Result<()> {
    let bench = Bench::new().await?;
    let file = bench.folder.path().join("figures.json");
    let arguments = ["repair", "--members", "1000", "--rounds", "1", "--json", file.to_str().unwrap()];
    let run = Bench::run(&arguments).await?;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for row in ["| longest stall of all runs ", "| rebuild: time ", "| reconcile: peak memory ", "| ≤ 20 ms "] {
        assert!(run.stdout.contains(row), "{row}: {}", run.stdout);
    }
    let figures: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let figures = figures["figures"].as_array().context("a list of figures")?;
    for verb in ["reconcile", "apply", "rebuild"] {
        for what in ["time_ms", "peak_mib", "asked", "idle_asked"] {
            let id = format!("repair.{verb}_{what}");
            let figure = figures.iter().find(|figure| figure["id"] == *id).context(id.clone())?;
            assert!(figure["rounds"][0].as_f64().is_some_and(|value| value > 0.0), "{figure}");
        }
    }
    bench.is_as_before(&run).await
}
