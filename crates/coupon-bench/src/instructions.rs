//! `coupon-bench instructions`: how many instructions and allocations the parts without I/O take for one event, each held
//! against its limit. Unlike times, they are the same on a busy machine and on an idle one, so a limit can stand in CI.

mod callgrind;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::{
    figures::{Figure, Goal, Unit, finish_on},
    machine::Machine,
    measure::spread::as_f64,
    progress,
    pure::Part,
};

/// The limits, beside the code that they are about.
const LIMITS: &str = include_str!("../instructions.toml");

/// Events of the two runs whose difference counts: what starting and preparing takes is in both.
const EVENTS: (u32, u32) = (2000, 12_000);

/// Most of what one event may take in a part.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limit {
    instructions: u32,
    /// Calls that ask for memory, or for more of it.
    allocations: f64,
}

/// Arguments of `coupon-bench instructions`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench instructions --json instructions.json")]
pub struct InstructionsArgs {
    /// Also write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Counts, prints what was counted, and fails where a part takes more than its limit.
pub async fn run(arguments: &InstructionsArgs) -> Result<()> {
    ensure!(!cfg!(debug_assertions), "the limits hold for a release build: cargo run --release -p coupon-bench");
    let limits = limits(LIMITS)?;
    let mut figures = Vec::new();
    for part in Part::value_variants() {
        let limit = limits.get(&part.name()).copied().with_context(|| format!("{} has no limit", part.name()))?;
        figures.extend(count(*part, limit).await?);
    }
    let over: Vec<String> = figures.iter().filter_map(too_many).collect();
    finish_on(Machine::alone(), 1, figures, arguments.json.as_deref())?;
    ensure!(over.is_empty(), "{}; the limits stand in crates/coupon-bench/instructions.toml", over.join(", "));
    Ok(())
}

async fn count(part: Part, limit: Limit) -> Result<[Figure; 2]> {
    let name = part.name();
    let _counting = progress::step(&format!("counting: {name}"));
    let (few, many) = (callgrind::count(part, EVENTS.0).await?, callgrind::count(part, EVENTS.1).await?);
    let instructions = per_event(few.instructions, many.instructions);
    ensure!(instructions > 0.0, "more events did not take more instructions");
    let figure = |what: &str, unit, value, most| {
        let figure = Figure::new(&format!("{what}.{name}"), &format!("{what} of {name} for an event"), unit, [value]);
        figure.goal(Goal::AtMost(most))
    };
    Ok([
        figure("instructions", Unit::Instructions, instructions, f64::from(limit.instructions)),
        figure("allocations", Unit::Count, per_event(few.allocations, many.allocations), limit.allocations),
    ])
}

/// What the longer run took more for each event that it did more; less is told as nothing.
fn per_event(few: u64, many: u64) -> f64 {
    as_f64(many.saturating_sub(few)) / f64::from(EVENTS.1 - EVENTS.0)
}

/// Returns a sentence if a part takes more than its limit.
fn too_many(figure: &Figure) -> Option<String> {
    let (median, Goal::AtMost(limit)) = (figure.spread()?.median, figure.goal?) else { return None };
    let text = |value| figure.unit.text(value);
    (median > limit).then(|| format!("{}: {}, and the limit is {}", figure.name, text(median), text(limit)))
}

fn limits(text: &str) -> Result<BTreeMap<String, Limit>> {
    toml::from_str(text).context("instructions.toml is no list of parts with their limits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_has_a_limit_and_no_limit_is_left_over() {
        let limits = limits(LIMITS).unwrap();
        let mut parts: Vec<String> = Part::value_variants().iter().map(|part| part.name()).collect();
        parts.sort_unstable();
        assert_eq!(limits.into_keys().collect::<Vec<_>>(), parts);
    }

    #[test]
    fn what_starting_takes_is_not_counted() {
        assert!((per_event(1_000_000, 21_000_000) - 2000.0).abs() < 1e-9);
        assert!(per_event(1_000_000, 1_000_000).abs() < 1e-9);
    }

    #[test]
    fn a_part_over_its_limit_is_told() {
        let figure = Figure::new("instructions.decode", "instructions of decode", Unit::Instructions, [2200.5]);
        let told = too_many(&figure.clone().goal(Goal::AtMost(2200.0)));
        assert_eq!(told.as_deref(), Some("instructions of decode: 2,201, and the limit is 2,200"));
        assert_eq!(too_many(&figure.goal(Goal::AtMost(2201.0))), None);
        let figure = Figure::new("allocations.decode", "allocations of decode", Unit::Count, [3.2]);
        let told = too_many(&figure.goal(Goal::AtMost(3.0)));
        assert_eq!(told.as_deref(), Some("allocations of decode: 3.2, and the limit is 3"));
    }
}
