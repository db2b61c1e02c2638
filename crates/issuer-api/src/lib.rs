#![doc = include_str!("../README.md")]

pub mod accept;
pub mod acknowledge;
pub mod admission;
pub mod auth;
pub mod backend;
mod batches;
pub mod campaign_metrics;
pub mod cli;
pub mod config;
pub mod coupon;
pub mod coupon_lookup;
pub mod data_loss;
pub mod detached;
pub mod doctor;
pub mod http;
mod in_flight;
mod metrics_help;
pub mod mock;
pub mod outboxes;
pub mod publish;
pub mod relay;
mod request_list;
pub mod reservations;
pub mod serve;
pub mod sold_out;
pub mod standing;
mod start;

use std::process::ExitCode;

use coupon_core::runtime::print_effective;

/// Name of the service in logs, metrics, and towards its servers.
pub const SERVICE: &str = "issuer-api";

/// Runs one command to its end.
pub async fn run(command: cli::Command, settings: config::ApiSettings) -> anyhow::Result<ExitCode> {
    match command {
        cli::Command::Serve => Box::pin(serve::serve(&settings)).await,
        cli::Command::Mock => Box::pin(mock::serve(&settings)).await,
        cli::Command::Coupon(args) => coupon::run(args, &settings).await,
        cli::Command::Config => {
            print!("{}", print_effective(&settings));
            Ok(ExitCode::SUCCESS)
        }
        cli::Command::Doctor => Box::pin(doctor::doctor(&settings)).await,
    }
}
