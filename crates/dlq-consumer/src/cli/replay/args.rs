//! The command line of `replay …`.

use clap::{Args, Subcommand};
use coupon_core::repo::work_list::TypedNumber;
use coupon_operations::terminal::{ByArgs, output::Output, reason};

use crate::cli::filter::FilterArgs;

/// What to replay.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    before_help = "Examples:\n  dlq-consumer replay --coupon SPRING --dry-run\n  dlq-consumer replay --coupon SPRING --reason \"disk was full, ticket 4711\" --yes"
)]
pub struct ReplayArgs {
    #[command(subcommand)]
    pub(super) command: Option<JobCommand>,
    #[command(flatten)]
    pub(super) new: NewArgs,
}

/// A new replay.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct NewArgs {
    /// Numbers, such as E17 or D4; all that the filter means when none is given
    pub(super) ids: Vec<TypedNumber>,
    /// Replay dead letters that are held or parked, with their own request ids, instead of compensated requests
    #[arg(long)]
    pub(super) dead_letters: bool,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
    /// No higher number than this: what comes later is not meant.
    #[arg(long, value_name = "ID")]
    pub(super) up_to: Option<TypedNumber>,
    /// Only tell how many could be replayed, why others could not, and with --coupon for how many coupons are left
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Most replays begun in a second
    #[arg(long, value_name = "N", default_value_t = 50.0, value_parser = rate)]
    pub(super) per_second: f64,
    /// Also when the campaign is closed or its time is over
    #[arg(long)]
    pub(super) after_close: bool,
    /// Why, for whoever looks later; needed unless --dry-run
    #[arg(long, value_parser = reason, required_unless_present = "dry_run")]
    pub(super) reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(super) yes: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) operator: ByArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum JobCommand {
    /// Show replays, newest first, or one
    #[command(before_help = "Examples:\n  dlq-consumer replay status\n  dlq-consumer replay status 3 --output json")]
    Status {
        /// Which one
        job: Option<i64>,
        /// How to print
        #[arg(long, value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Pause a replay, wherever it runs; it stops before the next row
    #[command(
        before_help = "Examples:\n  dlq-consumer replay pause 3 --reason \"looking\"\n  dlq-consumer replay pause 3 --by alice"
    )]
    Pause(JobArgs),
    /// Go on with a replay that was paused, stopped or killed; in this terminal where no service works on jobs
    #[command(
        before_help = "Examples:\n  dlq-consumer replay resume 3\n  dlq-consumer replay resume 3 --reason \"mended\" --by alice --yes"
    )]
    Resume(ResumeArgs),
    /// End a replay for good; what it has begun goes on
    #[command(
        before_help = "Examples:\n  dlq-consumer replay cancel 3 --reason \"wrong coupon\"\n  dlq-consumer replay cancel 3 --by alice"
    )]
    Cancel(JobArgs),
}

/// A replay, and who moves it why.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    /// Number of the replay
    pub(super) job: i64,
    /// Why
    #[arg(long, value_parser = reason, default_value = "by hand")]
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) operator: ByArgs,
}

/// A replay that is to go on.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// Accepted for scripts that pass it to every verb; nothing is asked here, as it was when the replay was made
    #[arg(long)]
    pub(super) yes: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 10000".to_owned()),
    }
}
