//! `coupon …`: administering campaigns, in the order that keeps PostgreSQL and Redis together.

mod close;
mod create;
mod delete;
mod error;

mod open;
mod output;
mod total;
mod window;

use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use coupon_core::{
    clock::{Clock, SystemClock},
    ids::CouponCode,
    repo::{Database, audit::Actor, coupons::Coupon, schema::Schema},
    runtime::operator::named,
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
    /// Who changes something, for the audit; $USER when not given
    #[arg(long, global = true, value_name = "NAME", env = "USER", hide_env_values = true)]
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
    /// Change when members can ask, and how long coupons are valid that are issued from now on
    SetWindow(WindowArgs),
    /// Delete a campaign that was never opened
    Delete(CodeArg),
}

impl CouponCommand {
    fn changes(&self) -> bool {
        !matches!(self, Self::Show(_) | Self::List)
    }
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
    #[arg(long, value_name = "N", value_parser = total, allow_negative_numbers = true)]
    pub total: i64,
    /// First moment requests are accepted, RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub opens_at: Option<DateTime<Utc>>,
    /// First moment no request is accepted any more, RFC 3339 [default: when it is closed by hand]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub closes_at: Option<DateTime<Utc>>,
    /// Days a coupon is valid, from its reservation
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = days, allow_negative_numbers = true)]
    pub valid_days: i32,
    /// Succeed if it is there already just as it is asked for
    #[arg(long)]
    pub if_absent: bool,
}

/// A new total.
#[derive(Debug, Args)]
pub struct TotalArgs {
    /// Public name of the campaign
    pub code: CouponCode,
    /// Coupons in all
    #[arg(value_name = "N", value_parser = total, allow_negative_numbers = true)]
    pub total: i64,
}

/// A new window; what is not given stays as it is.
#[derive(Debug, Args)]
pub struct WindowArgs {
    /// Public name of the campaign
    pub code: CouponCode,
    /// First moment requests are accepted, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub opens_at: Option<DateTime<Utc>>,
    /// First moment no request is accepted any more, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub closes_at: Option<DateTime<Utc>>,
    /// Accept requests until it is closed by hand
    #[arg(long, conflicts_with = "closes_at")]
    pub no_closes_at: bool,
    /// Days a coupon is valid, from its reservation, of those that are issued from now on: 1 to 3650
    #[arg(long, value_name = "DAYS", value_parser = days, allow_negative_numbers = true)]
    pub valid_days: Option<i32>,
}

fn total(text: &str) -> Result<i64, String> {
    let total = text.parse().ok().filter(|total| (0..=MOST).contains(total));
    total.ok_or_else(|| "a whole number from 0 to 1000000000".to_owned())
}

fn days(text: &str) -> Result<i32, String> {
    let days = text.parse().ok().filter(|days| (1..=3650).contains(days));
    days.ok_or_else(|| "a whole number from 1 to 3650".to_owned())
}

/// Where campaigns are administered.
struct Desk {
    database: Database,
    stock: Stock,
    by: String,
}

/// Runs one command.
pub async fn run(args: CouponArgs, settings: &ApiSettings) -> anyhow::Result<ExitCode> {
    let by = named(args.by);
    let desk = Desk {
        database: Database::new(&settings.database, SERVICE)?,
        stock: Stock::new(&settings.redis)?,
        by: if args.command.changes() { by? } else { String::new() },
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
                output::list(output, &self.database.coupons().list().await?, self.actor().now)?;
                return Ok(());
            }
            CouponCommand::Delete(CodeArg { code }) => return Ok(self.delete(&code).await?),
            CouponCommand::SetWindow(args) => self.set_window(args).await?,
            CouponCommand::Create(args) => self.create(args).await?,
            CouponCommand::Show(CodeArg { code }) => self.coupon(&code).await?,
            CouponCommand::Open(CodeArg { code }) => self.open(&code).await?,
            CouponCommand::Close(CodeArg { code }) => self.close(&code).await?,
            CouponCommand::SetTotal(TotalArgs { code, total }) => self.set_total(&code, total).await?,
        };
        let view = self.stock.view(&coupon.coupon_code).await;
        output::show(output, &coupon, view, self.actor().now)?;
        Ok(())
    }

    /// The campaign's row.
    async fn coupon(&self, code: &CouponCode) -> Result<Coupon, CommandError> {
        self.database.coupons().find(code).await?.ok_or_else(|| CommandError::Unknown(code.clone()))
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
