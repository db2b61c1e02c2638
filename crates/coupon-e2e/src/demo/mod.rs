//! The demo: one campaign of the running stack from its opening to the verdict, on one screen.

mod cast;
mod follow;
mod rush;
mod screen;
mod stage;
mod story;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};

use self::{cast::Cast, stage::Stage};

/// Command line of `coupon-demo`.
#[derive(Debug, Parser)]
#[command(
    args_conflicts_with_subcommands = true,
    about = "Opens a campaign on the running stack, lets members rush at it, plays a failure to its end, and judges"
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    size: Size,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The demo itself; what happens without a command, too
    Run(Size),
    /// Prints a token of a member, for curl
    Token {
        /// The member id
        member: String,
    },
}

/// Size of the rush.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Size {
    /// Coupons of the campaign
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..))]
    coupons: u32,
    /// Members who ask, numbered from 1; more than coupons, so that somebody is next in line
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(21..=1_000_000))]
    members: u32,
}

/// Runs the command; the exit code is 1 if a promise does not hold.
pub async fn main(arguments: Arguments) -> Result<ExitCode> {
    match arguments.command {
        Some(Command::Token { member }) => {
            println!("{}", stage::signer()?.token(&member).sign()?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Run(size)) => run(size).await,
        None => run(arguments.size).await,
    }
}

async fn run(size: Size) -> Result<ExitCode> {
    ensure!(size.members > size.coupons, "--members must be more than --coupons, or nobody is next in line");
    let stage = Stage::set(size).await?;
    let cast = Cast::prepare(&stage).await?;
    let played = story::play(&stage).await;
    // Whatever has happened, the stack does not keep a trigger that makes writes fail.
    let cleared = cast.dismiss(&stage).await;
    played?;
    cleared?;
    let verdict = stage.verdict().await?;
    println!("\n{verdict}");
    for violation in &verdict.violations {
        println!("does not hold: {violation}");
    }
    screen::what_next(&stage.code, size.coupons + 1);
    Ok(if verdict.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
