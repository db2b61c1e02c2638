//! Measures the pipeline. The work is in the library.

use std::process::ExitCode;

use clap::Parser;
use coupon_bench::cli::{self, Cli};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::execute(Cli::parse()).await
}
