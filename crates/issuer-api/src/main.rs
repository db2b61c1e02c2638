//! The first stage: see the crate's README.

use std::process::ExitCode;

use clap::Parser;
use coupon_core::runtime::{block_on, load, process_environment};
use issuer_api::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    block_on(async move {
        let settings = load(&cli.settings, process_environment())?;
        issuer_api::run(cli.command, settings).await
    })
}
