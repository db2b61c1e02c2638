//! `coupon …`: parses and prints. What a command does is in [`coupon_operations::campaigns`].

mod print;

use std::{process::ExitCode, sync::Arc};

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use coupon_core::{
    clock::SystemClock,
    ids::CouponCode,
    repo::{
        Database,
        audit::Identity,
        coupons::{Coupon, NewWindow},
    },
    runtime::Usage,
    stock::Stock,
};
use coupon_operations::{
    campaigns::{CampaignError, Campaigns, Changed, CreateCampaign, MAX_TOTAL, MAX_VALID_DAYS, Remark},
    terminal::{ByArgs, Output, require_schema},
};

use crate::{SERVICE, config::ApiSettings};

/// The `coupon` commands.
#[derive(Debug, Args)]
pub struct CouponArgs {
    /// How the result is printed; remarks go to standard error
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// Who changes something.
    #[command(flatten)]
    pub by: ByArgs,
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
    /// Set whether a unit is reserved only with a token of the waiting room
    SetAdmission(AdmissionArgs),
    /// Delete a campaign that was never opened
    Delete(CodeArg),
}

impl CouponCommand {
    fn changes(&self) -> bool {
        !matches!(self, Self::Show(_) | Self::List)
    }

    fn requires_admission(&self) -> bool {
        let (Self::Create(CreateArgs { admission, .. }) | Self::SetAdmission(AdmissionArgs { admission, .. })) = self
        else {
            return false;
        };
        admission.0
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
    /// Whether a unit is reserved only with a token of the waiting room: required or off
    #[arg(long, value_name = "WORD", default_value = "off", value_parser = admission)]
    pub admission: Required,
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

/// Whether a campaign requires admission.
#[derive(Debug, Args)]
pub struct AdmissionArgs {
    /// Public name of the campaign
    pub code: CouponCode,
    /// required or off
    #[arg(value_name = "WORD", value_parser = admission)]
    pub admission: Required,
}

/// Whether admission is required; no `bool`, which the parser of arguments takes for a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Required(bool);

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
    let total = text.parse().ok().filter(|total| (0..=MAX_TOTAL).contains(total));
    total.ok_or_else(|| "a whole number from 0 to 1000000000".to_owned())
}

fn days(text: &str) -> Result<i32, String> {
    let days = text.parse().ok().filter(|days| (1..=MAX_VALID_DAYS).contains(days));
    days.ok_or_else(|| "a whole number from 1 to 3650".to_owned())
}

fn admission(text: &str) -> Result<Required, String> {
    match text {
        "required" => Ok(Required(true)),
        "off" => Ok(Required(false)),
        _ => Err("required or off".to_owned()),
    }
}

/// Runs one command.
pub async fn run(args: CouponArgs, settings: &ApiSettings) -> anyhow::Result<ExitCode> {
    if args.command.requires_admission() && !settings.admission.is_set() {
        let wrong = "admission.issuer is not set: no issuer-api with these settings could verify a token, and the campaign would \
                     accept nothing; nothing was changed";
        return Err(Usage(wrong.to_owned()).into());
    }
    let by = if args.command.changes() { args.by.name()? } else { args.by.name_or_unknown() };
    let campaigns = Campaigns {
        database: Database::new(&settings.database, SERVICE)?,
        stock: Stock::new(&settings.redis)?,
        clock: Arc::new(SystemClock),
        by: Identity::command_line(&by),
    };
    require_schema(&campaigns.database).await?;
    let outcome = perform(&campaigns, args.command, args.output).await;
    campaigns.database.close().await;
    outcome.map(|()| ExitCode::SUCCESS)
}

async fn perform(campaigns: &Campaigns, command: CouponCommand, output: Output) -> anyhow::Result<()> {
    let (done, changed) = match command {
        CouponCommand::List => {
            return print::list(output, &campaigns.database.coupons().list().await?, campaigns.clock.now());
        }
        CouponCommand::Delete(CodeArg { code }) => {
            campaigns.delete(&code).await?;
            eprintln!("{code} is deleted");
            return Ok(());
        }
        CouponCommand::Show(CodeArg { code }) => return show(campaigns, output, &campaigns.find(&code).await?).await,
        CouponCommand::Create(args) => {
            let done = format!("{0} is created; `coupon open {0} --by NAME` lets members ask", args.code);
            (done, campaigns.create(args.into()).await.map_err(as_usage)?)
        }
        CouponCommand::SetWindow(args) => {
            let code = args.code.clone();
            (format!("the window of {code} is set"), campaigns.set_window(&code, args.window()?).await?)
        }
        CouponCommand::SetAdmission(AdmissionArgs { code, admission: Required(is_required) }) => {
            let what = if is_required { "requires" } else { "does not require" };
            let done = format!(
                "{code} {what} admission; each issuer-api knows it within {} s",
                crate::admission::LEARN_INTERVAL.as_secs()
            );
            (done, campaigns.set_admission(&code, is_required).await?)
        }
        CouponCommand::Open(CodeArg { code }) => {
            let opened = campaigns.open(&code).await?;
            let opens_at = opened.coupon.opens_at;
            let done = if opens_at > campaigns.clock.now() {
                format!("{code} accepts requests from {} on, and none before", print::text(opens_at))
            } else {
                format!("{code} is open")
            };
            (done, opened)
        }
        CouponCommand::Close(CodeArg { code }) => (format!("{code} is closed"), campaigns.close(&code).await?),
        CouponCommand::SetTotal(TotalArgs { code, total }) => {
            (format!("the total of {code} is {total}"), campaigns.set_total(&code, total).await?)
        }
    };
    let Changed { coupon, remarks } = changed;
    if !remarks.iter().any(|remark| matches!(remark, Remark::ExistedBefore(_))) {
        eprintln!("{done}");
    }
    for remark in &remarks {
        eprintln!("note: {remark}");
    }
    show(campaigns, output, &coupon).await
}

/// Prints a campaign as PostgreSQL and Redis have it.
async fn show(campaigns: &Campaigns, output: Output, coupon: &Coupon) -> anyhow::Result<()> {
    let view = campaigns.stock.view(&coupon.coupon_code).await;
    print::show(output, coupon, view, campaigns.clock.now())
}

/// A window that cannot be is wrong usage, and ends with exit code 2.
fn as_usage(error: CampaignError) -> anyhow::Error {
    match error {
        error @ CampaignError::ClosesBeforeItOpens { .. } => Usage(error.to_string()).into(),
        error => error.into(),
    }
}

impl From<CreateArgs> for CreateCampaign {
    fn from(args: CreateArgs) -> Self {
        let CreateArgs { code, total, opens_at, closes_at, valid_days, admission, if_absent } = args;
        Self { code, total, opens_at, closes_at, valid_days, admission_required: admission.0, if_absent }
    }
}

impl WindowArgs {
    fn window(self) -> Result<NewWindow, Usage> {
        let Self { opens_at, closes_at, no_closes_at, valid_days, .. } = self;
        if opens_at.is_none() && closes_at.is_none() && !no_closes_at && valid_days.is_none() {
            let what = "say what is to change: --opens-at, --closes-at, --no-closes-at, --valid-days";
            return Err(Usage(what.to_owned()));
        }
        Ok(NewWindow { opens_at, closes_at: if no_closes_at { Some(None) } else { closes_at.map(Some) }, valid_days })
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|error| format!("{error}; expected RFC 3339, such as 2026-05-01T09:00:00+09:00"))?;
    Ok(time.to_utc())
}
