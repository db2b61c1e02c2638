//! `coupon-bench model`, which needs no server.

use std::{fs, path::Path};

use anyhow::Result;
use serde_json::{Value, json};

use crate::report::run;

/// Writes a file as the commands do, with one round of each figure.
fn measured(file: &Path, figures: &[(&str, f64)]) -> Result<()> {
    let figure = |(id, value): &(&str, f64)| json!({"id": id, "name": id, "unit": "us", "rounds": [value], "goal": null, "remark": ""});
    let machine = json!({"processor": "", "cores": 2, "memory_mib": 0, "kernel": "", "postgresql": "", "redis": ""});
    let figures: Vec<Value> = figures.iter().map(figure).collect();
    let all = json!({"command": "", "at": "2026-11-25T10:00:00Z", "machine": machine, "rounds": 1, "figures": figures});
    Ok(fs::write(file, all.to_string())?)
}

#[tokio::test]
async fn a_prediction_that_is_far_from_what_was_measured_fails() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("all.json");
    let arguments = ["model", file.to_str().unwrap(), "--check"];
    // The parts take 100 µs together, which two cores do 20,000 times a second.
    for (per_second, code) in [(18_000.0, 0), (10_000.0, 1)] {
        let figures = [
            ("half.load_cpu_us", 10.0),
            ("half.api_cpu_us", 30.0),
            ("half.redis_cpu_us", 10.0),
            ("half.kafka_cpu_us", 20.0),
            ("half.consumer_cpu_us", 10.0),
            ("half.postgres_cpu_us", 20.0),
            ("chain.per_second", per_second),
        ];
        measured(&file, &figures)?;
        let run = run(&arguments).await?;
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert!(run.stdout.contains("Predicted: 2 cores / 100.0 µs = 20.0 k/s."), "{}", run.stdout);
        assert_eq!(run.stderr.contains("the prediction is 100.0 % off"), code == 1, "{}", run.stderr);
    }
    Ok(())
}

#[tokio::test]
async fn what_the_files_lack_is_named_and_nothing_is_predicted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("all.json");
    measured(&file, &[("accept.api_cpu_us", 30.0)])?;
    let run = run(&["model", file.to_str().unwrap(), "--requests", "1000"]).await?;
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("size.redis_bytes, which `coupon-bench size` measures"), "{}", run.stderr);
    Ok(())
}
