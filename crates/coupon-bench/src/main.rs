//! Measures the pipeline. The work is in the library.

use std::process::ExitCode;

use clap::Parser;
use coupon_bench::cli::{self, Cli};
use mimalloc::MiMalloc;

/// The allocator of the services, so that the limits have what these have.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::execute(Cli::parse()).await
}
