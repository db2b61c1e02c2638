//! `coupon-soak`: an hour of members, faults and operators, and a verdict; see `scripts/soak`.

use std::process::ExitCode;

use clap::Parser;
use coupon_e2e::soak::{self, Arguments};

#[tokio::main]
async fn main() -> ExitCode {
    match soak::main(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("coupon-soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}
