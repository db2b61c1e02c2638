//! Memory, descriptors and connections of the processes that live through the whole run.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use chrono::Utc;
use procfs::process::{FDTarget, Process};
use serde_json::{Value, json};

use super::{Run, fleet::SLOTS};
use crate::wait::pause;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(5);
/// A process that has just started still grows: its first minute is left out.
const WARM_AFTER_S: u64 = 60;
/// Fewer samples of a process say nothing of a trend.
const LEAST_SAMPLES: usize = 80;
const FILE: &str = "samples.jsonl";

/// What is counted, and how much the median of the last quarter may be above that of the first: a factor, and a number on
/// top of it for what is small.
const MEASURES: [(&str, f64, f64); 3] =
    [("memory_bytes", 1.25, 16.0 * 1024.0 * 1024.0), ("descriptors", 1.0, 24.0), ("connections", 1.0, 24.0)];

pub(super) async fn take(run: &Run) -> Result<()> {
    while !run.is_over() {
        for slot in (0..SLOTS).step_by(2) {
            if let Some(sample) = run.fleet.pid(slot).await.and_then(sample) {
                let (at, second) = (Utc::now(), run.started.elapsed().as_secs());
                let [memory, descriptors, connections] = sample;
                let line = json!({"at": at, "second": second, "slot": slot, "memory_bytes": memory,
                    "descriptors": descriptors, "connections": connections});
                run.kept.line(FILE, &line)?;
            }
        }
        pause(EVERY).await;
    }
    Ok(())
}

/// Resident bytes, open descriptors, and the sockets among them.
fn sample(pid: u32) -> Option<[u64; 3]> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let descriptors: Vec<_> = process.fd().ok()?.flatten().collect();
    let connections = descriptors.iter().filter(|one| matches!(one.target, FDTarget::Socket(_))).count();
    let memory = process.statm().ok()?.resident * procfs::page_size();
    Some([memory, descriptors.len() as u64, connections as u64])
}

/// What has grown, with its medians; nothing after a run that was too short to tell.
pub(super) fn grown(run: &Run) -> Result<Vec<String>> {
    let mut by_slot: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for line in run.kept.read(FILE)? {
        if line["second"].as_u64() >= Some(WARM_AFTER_S) {
            by_slot.entry(line["slot"].as_u64().unwrap_or_default()).or_default().push(line);
        }
    }
    let mut grown = Vec::new();
    for (slot, samples) in by_slot {
        let quarter = samples.len() / 4;
        for (measure, factor, more) in MEASURES {
            let median = |some: &[Value]| median(some.iter().filter_map(|one| one[measure].as_f64()).collect());
            let (first, last) = (median(&samples[..quarter]), median(&samples[samples.len() - quarter..]));
            let service = match slot / 2 {
                0 => "issuer-api",
                1 => "issue-consumer",
                _ => "dlq-consumer",
            };
            println!("{service}: {measure} {first:.0} in the first quarter, {last:.0} in the last");
            if samples.len() >= LEAST_SAMPLES && last > first * factor + more {
                grown.push(format!("{service}: {measure} grew from {first:.0} to {last:.0}"));
            }
        }
    }
    Ok(grown)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}
