//! The first stage: see the crate's README.

use std::process::ExitCode;

use clap::Parser;
use coupon_core::runtime::{block_on, load, process_environment};
use issuer_api::cli::Cli;
use mimalloc::MiMalloc;

/// Costs a request a fifth less CPU time than the allocator of the C library (crates/coupon-bench/README.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    block_on(async move {
        let settings = load(&cli.settings, process_environment())?;
        issuer_api::run(cli.command, settings).await
    })
}
