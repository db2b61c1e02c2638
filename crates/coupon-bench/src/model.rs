//! `coupon-bench model`: what was measured on one machine, as a prediction for many.

mod check;
mod costs;
mod given;
mod limits;
mod peak;
mod plan;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::{costs::Costs, given::Given, peak::Peak};
use crate::figures::Files;

/// Arguments: the files, and the peak or the deployment that is predicted for.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  coupon-bench model accept.json refuse.json drain.json size.json --requests 1000000 --campaigns 10\n  \
                   coupon-bench model accept.json refuse.json drain.json size.json --api-cores 8 --redis-shards 1\n  \
                   coupon-bench model accept.json drain.json --check"
)]
pub struct ModelArgs {
    /// Files that --json of accept, refuse, drain and size has written.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Predict what this machine does with the whole chain from the costs of its parts, and compare that with what was
    /// measured (`chain.per_second`). Nothing else is predicted then.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    peak: Peak,
    #[command(flatten)]
    given: Given,
}

/// Prints the prediction. With --check, one that is too far from what was measured is an error.
pub fn run(arguments: &ModelArgs) -> Result<()> {
    let files = Files::read(&arguments.files)?;
    if arguments.check {
        let check = check::Check::of(&files)?;
        print!("{check}");
        return check.is_near();
    }
    let costs = Costs::of(&files)?;
    print!("{}", plan::Plan { costs: &costs, peak: &arguments.peak });
    print!("{}", given::Outcome { costs: &costs, peak: &arguments.peak, given: &arguments.given });
    Ok(())
}
