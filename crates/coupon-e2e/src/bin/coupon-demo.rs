//! `coupon-demo`: a rush on a campaign of the running stack, a failure played to its end, and a verdict.

use std::process::ExitCode;

use clap::Parser;
use coupon_e2e::demo::{self, Arguments};

#[tokio::main]
async fn main() -> ExitCode {
    match demo::main(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("coupon-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
