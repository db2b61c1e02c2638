//! `coupon-bench report`: the files of several commands as one table and one plot.

mod plot;
mod svg;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    figures::{Files, Sheet},
    progress,
};

/// Arguments of `coupon-bench report`.
#[derive(Debug, Args)]
#[command(before_help = "Example:\n  coupon-bench report accept.json refuse.json drain.json --out plots")]
pub struct ReportArgs {
    /// Files that --json of the commands has written; each figure may be in one of them only.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Also draw the figures that have a goal, into figures.svg of this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Prints the table, and draws the plot.
pub fn run(arguments: &ReportArgs) -> Result<()> {
    let files = Files::read(&arguments.files)?;
    print!("{}", Sheet(files.all()));
    if let Some(folder) = &arguments.out {
        let file = folder.join("figures.svg");
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        std::fs::write(&file, plot::draw(files.all()))
            .with_context(|| format!("{} cannot be written", file.display()))?;
        progress::say(&format!("drawn: {}", file.display()));
    }
    Ok(())
}
