//! `coupon …`: administering campaigns, in the order that keeps PostgreSQL and Redis together.

mod close;
mod create;
mod error;

mod open;
mod output;
mod total;

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use coupon_core::{
    clock::{Clock, SystemClock},
    ids::CouponCode,
    repo::{
        Database,
        coupons::{Actor, Coupon},
        schema::Schema,
    },
    stock::Stock,
};

pub use error::CommandError;
pub use output::Output;

use crate::{SERVICE, config::ApiSettings};

/// Most coupons of one campaign.
const MOST: i64 = 1_000_000_000;

/// The `coupon` commands.
#[derive(Debug, Args)]
pub struct CouponArgs {
    /// How the result is printed; remarks go to standard error
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// Who changes something, for the audit [default: $USER]
    #[arg(long, global = true, value_name = "NAME")]
    pub by: Option<String>,
    /// Which one.
    #[command(subcommand)]
    pub command: CouponCommand,
}

/// What can be done with campaigns.
#[derive(Debug, Subcommand)]
pub enum CouponCommand {
    /// Create a campaign; nobody can ask before it is opened
    Create(CreateArgs),
    /// Show a campaign as PostgreSQL and Redis see it
    Show(CodeArg),
    /// List all campaigns, newest first
    List,
    /// Let members ask; repeating it finishes an opening that broke off
    Open(CodeArg),
    /// Accept nothing more, until it is opened again
    Close(CodeArg),
    /// Set how many coupons there are in all; nobody who holds one loses it
    SetTotal(TotalArgs),
}

/// The campaign meant.
#[derive(Debug, Args)]
pub struct CodeArg {
    /// Public name of the campaign: 1 to 50 of A-Z a-z 0-9 _ -
    pub code: CouponCode,
}

/// What a campaign is created with.
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Public name of the campaign: 1 to 50 of A-Z a-z 0-9 _ -
    pub code: CouponCode,
    /// Coupons in all, at most 1,000,000,000
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=MOST))]
    pub total: i64,
    /// First moment requests are accepted, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub opens_at: Option<DateTime<Utc>>,
    /// First moment no request is accepted any more, RFC 3339 [default: when it is closed by hand]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub closes_at: Option<DateTime<Utc>>,
    /// Days a coupon is valid, from its reservation
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(i32).range(1..=3650))]
    pub valid_days: i32,
}

/// A new total.
#[derive(Debug, Args)]
pub struct TotalArgs {
    /// Public name of the campaign
    pub code: CouponCode,
    /// Coupons in all
    #[arg(value_name = "N", value_parser = clap::value_parser!(i64).range(0..=MOST))]
    pub total: i64,
}

/// Where campaigns are administered.
struct Desk {
    database: Database,
    stock: Stock,
    by: String,
}

/// Runs one command.
pub async fn run(args: CouponArgs, settings: &ApiSettings) -> anyhow::Result<ExitCode> {
    let by = args.by.or_else(|| std::env::var("USER").ok()).filter(|name| !name.is_empty());
    let desk = Desk {
        database: Database::new(&settings.database, SERVICE)?,
        stock: Stock::new(&settings.redis)?,
        by: by.unwrap_or_else(|| "unknown".to_owned()),
    };
    match desk.database.schema().await? {
        Schema::Fits { .. } => {}
        unfit => return Err(CommandError::Schema(unfit).into()),
    }
    let outcome = desk.perform(args.command, args.output).await;
    desk.database.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

impl Desk {
    async fn perform(&self, command: CouponCommand, output: Output) -> anyhow::Result<()> {
        let coupon = match command {
            CouponCommand::List => {
                output::list(output, &self.database.coupons().await?)?;
                return Ok(());
            }
            CouponCommand::Create(args) => self.create(args).await?,
            CouponCommand::Show(CodeArg { code }) => self.coupon(&code).await?,
            CouponCommand::Open(CodeArg { code }) => self.open(&code).await?,
            CouponCommand::Close(CodeArg { code }) => self.close(&code).await?,
            CouponCommand::SetTotal(TotalArgs { code, total }) => self.set_total(&code, total).await?,
        };
        let view = self.stock.view(&coupon.coupon_code).await;
        output::show(output, &coupon, view)?;
        Ok(())
    }

    /// The campaign's row.
    async fn coupon(&self, code: &CouponCode) -> Result<Coupon, CommandError> {
        self.database.coupon(code).await?.ok_or_else(|| CommandError::Unknown(code.clone()))
    }

    /// The row of a campaign that can still change.
    async fn living(&self, code: &CouponCode) -> Result<Coupon, CommandError> {
        let coupon = self.coupon(code).await?;
        if coupon.archived_at.is_some() {
            return Err(CommandError::Archived(code.clone()));
        }
        Ok(coupon)
    }

    /// Who does it, now.
    fn actor(&self) -> Actor {
        Actor { name: self.by.clone(), now: SystemClock.now() }
    }
}

/// A remark: standard output is for data.
fn say(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|error| format!("{error}; expected RFC 3339, such as 2026-05-01T09:00:00+09:00"))?;
    Ok(time.to_utc())
}
