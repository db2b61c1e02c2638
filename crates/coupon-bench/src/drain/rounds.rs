//! What all commands that measure have in common.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use coupon_e2e::process::binaries;

use crate::progress;

/// How often, and where to.
#[derive(Clone, Debug, Args)]
pub struct Rounds {
    /// How often everything is measured; the figures are medians.
    #[arg(long, value_name = "R", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Also write every figure of every round to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Finds the binaries before anything takes minutes, and warns of those whose figures say nothing.
pub fn look_at_build() -> Result<()> {
    let consumer = binaries::find("issue-consumer")?;
    if consumer.parent().is_some_and(|folder| folder.ends_with("debug")) {
        progress::say("this is a debug build: its figures say nothing");
    }
    Ok(())
}
