//! The command line.

use clap::{Parser, Subcommand};
use coupon_core::runtime::SettingsArgs;

use crate::coupon::CouponArgs;

/// Accepts requests for coupons, and administers campaigns
#[derive(Debug, Parser)]
#[command(name = crate::SERVICE, version, about = "Accepts requests for coupons, and administers campaigns")]
#[command(
    after_help = "Settings are explained in crates/issuer-api/config.default.toml; `issuer-api config` prints the effective ones.\n\
                        Exit codes: 0 done, 1 failed, 2 wrong setting or usage."
)]
pub struct Cli {
    /// Where the settings come from.
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Answer members until stopped
    Serve,
    /// Answer members from memory, without any server, as the names of the members say: for the tests of a shop
    #[command(after_help = crate::mock::HELP)]
    Mock,
    /// Create, show, list, open and close campaigns, and set their totals
    Coupon(CouponArgs),
    /// Print the effective settings, secrets as ***
    Config,
    /// Check every dependency and say how to put right what is wrong
    Doctor,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
