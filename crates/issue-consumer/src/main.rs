//! Writes reserved coupons to PostgreSQL. The work is in the library.

use std::process::ExitCode;

use clap::Parser;
use coupon_core::runtime::block_on;
use issue_consumer::cli::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    block_on(cli::execute(cli))
}
