#![doc = include_str!("../README.md")]

pub mod accept;
pub mod acknowledge;
pub mod auth;
pub mod campaigns;
pub mod cli;
pub mod config;
pub mod coupon;
mod detached;
pub mod doctor;
pub mod http;
mod metrics_help;
mod progress;
pub mod publish;
pub mod relay;
pub mod serve;
pub mod sold_out;
pub mod standing;
mod start;
pub mod suspects;

use std::process::ExitCode;

use coupon_core::runtime::print_effective;

/// What the binary calls itself towards its servers.
pub const SERVICE: &str = "issuer-api";

/// Runs one command to its end.
pub async fn run(command: cli::Command, settings: config::ApiSettings) -> anyhow::Result<ExitCode> {
    match command {
        cli::Command::Serve => serve::serve(&settings).await,
        cli::Command::Coupon(args) => coupon::run(args, &settings).await,
        cli::Command::Config => {
            print!("{}", print_effective(&settings));
            Ok(ExitCode::SUCCESS)
        }
        cli::Command::Doctor => doctor::doctor(&settings).await,
    }
}
