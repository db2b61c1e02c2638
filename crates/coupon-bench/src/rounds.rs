//! What the commands that measure on servers have in common: rounds, and the file of the figures.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use coupon_e2e::process::binaries;

use crate::{
    environment::Environment,
    figures::{Figure, finish},
    progress,
};

/// Number of rounds, and the file of their figures.
#[derive(Clone, Debug, Args)]
pub struct Rounds {
    /// How often everything is measured; the figures are medians.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Also write every figure of every round to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Rounds {
    /// Measures in each round, and returns what each has shown. A round that fails ends the measurement.
    pub async fn each<T>(&self, mut measure: impl AsyncFnMut(u32) -> Result<T>) -> Result<Vec<T>> {
        look_at_build()?;
        let mut all = Vec::new();
        for round in 1..=self.rounds {
            let what = format!("round {round} of {}", self.rounds);
            progress::say(&what);
            all.push(measure(round).await.context(what)?);
        }
        Ok(all)
    }

    /// Prints the figures, and writes the file.
    pub async fn finish(&self, environment: &Environment, figures: Vec<Figure>) -> Result<()> {
        finish(environment, self.rounds, figures, self.json.as_deref()).await
    }
}

/// Finds the binaries before anything takes minutes, and warns of a debug build, whose figures mislead.
pub fn look_at_build() -> Result<()> {
    let consumer = binaries::find("issue-consumer")?;
    if consumer.parent().is_some_and(|folder| folder.ends_with("debug")) {
        progress::say("this is a debug build: its figures say nothing");
    }
    Ok(())
}

/// Reads a length: 0.2 to 600 seconds.
pub fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "no number of seconds".to_owned())?;
    if (0.2..=600.0).contains(&seconds) { Ok(seconds) } else { Err("0.2 to 600 seconds".to_owned()) }
}
