//! `replay …`.

use std::{collections::BTreeSet, process::ExitCode};

use clap::{Args, Subcommand};
use coupon_core::{
    clock::{Clock, SystemClock},
    repo::{
        failed_issues::FailedStatus,
        filter::Filter,
        numbers::TypedNumber,
        replay_jobs::{Job, JobKind, JobStatus, SILENT_AFTER},
        replays::Plan,
        settling::List,
    },
    runtime::Escaped,
};

use super::{
    ByArgs,
    bar::Bar,
    confirm::confirm,
    desk, desk_of,
    filter::{self, FilterArgs},
    print::{self, Output},
    settling::{reason, rows},
};
use crate::{
    config::Config,
    desk::{Desk, replay::Request},
};

/// What to replay.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(
    before_help = "Examples:\n  dlq-consumer replay --coupon SPRING --dry-run\n  dlq-consumer replay --coupon SPRING --reason \"disk was full, ticket 4711\" --yes"
)]
pub struct ReplayArgs {
    #[command(subcommand)]
    command: Option<JobCommand>,
    #[command(flatten)]
    new: NewArgs,
}

/// A new replay.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
struct NewArgs {
    /// Numbers, such as E17 or D4; all that the filter means when none is given
    ids: Vec<TypedNumber>,
    /// Replay dead letters that are held or parked, with their own request ids, instead of requests that were given up
    #[arg(long)]
    dead_letters: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// No higher number than this: what comes later is not meant.
    #[arg(long, value_name = "ID")]
    up_to: Option<TypedNumber>,
    /// Only tell how many could be replayed, and why others could not
    #[arg(long)]
    dry_run: bool,
    /// Most replays begun in a second
    #[arg(long, value_name = "N", default_value_t = 50.0, value_parser = rate)]
    per_second: f64,
    /// Also when the campaign is closed or its time is over
    #[arg(long)]
    after_close: bool,
    /// Why, for whoever looks later; needed unless --dry-run
    #[arg(long, value_parser = reason, required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
    #[command(flatten)]
    operator: ByArgs,
}

#[derive(Debug, Subcommand)]
enum JobCommand {
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
    /// Go on with a replay that was paused, stopped or killed, in this terminal
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
struct JobArgs {
    /// Its number
    job: i64,
    /// Why
    #[arg(long, value_parser = reason, default_value = "by hand")]
    reason: String,
    #[command(flatten)]
    operator: ByArgs,
}

/// A replay that is to go on.
#[derive(Debug, Args)]
struct ResumeArgs {
    #[command(flatten)]
    job: JobArgs,
    /// Accepted for scripts that pass it to every verb; nothing is asked here, as it was when the replay was made
    #[arg(long)]
    yes: bool,
}

/// `replay …`.
pub async fn replay(config: &Config, args: ReplayArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        None => begin(config, args.new).await,
        Some(JobCommand::Status { job, output }) => {
            let desk = desk(config).await?;
            let jobs = match job {
                Some(job) => vec![desk.job(job).await?],
                None => desk.database.replay_jobs(None, 50).await?,
            };
            print_jobs(&jobs, output)?;
            Ok(ExitCode::SUCCESS)
        }
        Some(JobCommand::Pause(JobArgs { job, reason, operator })) => {
            desk_of(config, &operator.name()?).await?.pause_replay(job, reason).await?;
            eprintln!("replay {job} is paused; `dlq-consumer replay resume {job} --by NAME` goes on with it");
            Ok(ExitCode::SUCCESS)
        }
        Some(JobCommand::Cancel(JobArgs { job, reason, operator })) => {
            desk_of(config, &operator.name()?).await?.cancel_replay(job, reason).await?;
            eprintln!("replay {job} is cancelled");
            Ok(ExitCode::SUCCESS)
        }
        Some(JobCommand::Resume(ResumeArgs { job: JobArgs { job, reason, operator }, yes: _ })) => {
            let desk = desk_of(config, &operator.name()?).await?;
            desk.resume_replay(job, reason).await?;
            work(&desk, job, Output::Table).await
        }
    }
}

async fn begin(config: &Config, args: NewArgs) -> anyhow::Result<ExitCode> {
    // A number of a dead letter says it too.
    let dead_letters = args.dead_letters || args.ids.iter().any(|id| id.list == Some(List::Letters));
    let list = filter::list(dead_letters);
    let kind = if dead_letters { JobKind::Letters } else { JobKind::Requests };
    let coupon = args.filter.coupon.clone();
    let (ids, up_to) = (filter::ids(&args.ids, list)?, filter::bound(args.up_to, list)?);
    let mut filter = Filter { ids, up_to, ..args.filter.filter(SystemClock.now()) };
    // Named rows are judged one by one, so that the answer says what is wrong with them.
    if filter.ids.is_empty() && kind == JobKind::Requests {
        filter = filter.of_status(FailedStatus::Pending);
    }
    let request = Request {
        kind,
        filter,
        after_close: args.after_close,
        per_second: args.per_second,
        reason: args.reason.unwrap_or_default(),
    };
    let by = if args.dry_run { args.operator.name_or_unknown() } else { args.operator.name()? };
    let desk = desk_of(config, &by).await?;
    let plan = desk.plan_replay(&request).await?;
    let refused: Vec<String> = plan.refused.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    let refused = if refused.is_empty() { "none".to_owned() } else { refused.join(", ") };
    eprintln!("{} can be replayed, refused: {refused}", plan.eligible);
    let are_named = !request.filter.ids.is_empty();
    let is_nothing_meant = plan.eligible == 0 && plan.refused.is_empty();
    if is_nothing_meant && filter::says_mistyped(&desk, list, &request.filter).await? {
        return Ok(ExitCode::FAILURE);
    }
    if args.dry_run {
        print_plan(&plan, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    if plan.eligible == 0 {
        eprintln!("there is nothing to replay");
        // A filter may rightly choose none; a number that was named is meant.
        return Ok(if plan.refused.is_empty() && !are_named { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let name = coupon.map_or_else(|| "all".to_owned(), |code| code.to_string());
    let what = format!("replay {} up to number {}", rows(list, plan.eligible), list.number(plan.up_to));
    confirm(&what, &name, args.yes)?;
    let job = desk.create_replay(request, &plan).await?;
    eprintln!("this is replay {job}; `dlq-consumer replay pause {job} --by NAME` stops it from anywhere");
    work(&desk, job, args.output).await
}

/// Works on a job and says how it ended; exit code 1 unless everything that was asked for is issued.
async fn work(desk: &Desk, job: i64, output: Output) -> anyhow::Result<ExitCode> {
    let bar = Bar::of_one("replays");
    let tell = |job: &Job| {
        let (done, all) = progress(job);
        bar.of(done, all);
    };
    let ended = desk.work_replay(job, &tell).await;
    bar.end();
    let job = ended?;
    print_jobs(std::slice::from_ref(&job), output)?;
    let note = if job.note.is_empty() { String::new() } else { format!(": {}", Escaped(&job.note)) };
    eprintln!("replay {} is {}{note}", job.job_id, job.status);
    Ok(if is_whole(&job) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Rows of the job that have been begun or refused, and all that its filter chose.
fn progress(job: &Job) -> (u64, u64) {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    (count(job.begun), count(job.chosen))
}

/// Whether everything that was asked for is issued. Named rows are asked for one by one: each has to have been eligible.
fn is_whole(job: &Job) -> bool {
    let named: BTreeSet<i64> = job.filter.ids.iter().copied().collect();
    let are_all_eligible = named.is_empty() || usize::try_from(job.eligible).is_ok_and(|count| count == named.len());
    job.status == JobStatus::Done && job.failed == 0 && job.under_way == 0 && are_all_eligible
}

/// Where a job stands, and whether anybody works on one that runs.
fn standing(job: &Job) -> String {
    let silent_after = i64::try_from(SILENT_AFTER.as_secs()).unwrap_or(i64::MAX);
    match job.idle_seconds {
        Some(idle) if idle >= silent_after => {
            let resume = format!("dlq-consumer replay resume {} --by NAME", job.job_id);
            format!("{}, but nobody has worked on it for {idle} s: `{resume}`", job.status)
        }
        _ => job.status.to_string(),
    }
}

fn print_plan(plan: &Plan, output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return print::json(plan);
    }
    let mut rows = vec![vec!["eligible".to_owned(), plan.eligible.to_string()]];
    rows.extend(plan.refused.iter().map(|(reason, count)| vec![reason.clone(), count.to_string()]));
    print::cells(output, &["what", "rows"], &rows)
}

fn print_jobs(jobs: &[Job], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return print::json(jobs);
    }
    let columns = [
        "replay",
        "kind",
        "status",
        "eligible",
        "begun",
        "issued",
        "failed",
        "under way",
        "refused",
        "by",
        "reason",
        "note",
    ];
    let rows: Vec<Vec<String>> = jobs
        .iter()
        .map(|job| {
            vec![
                job.job_id.to_string(),
                job.kind.to_string(),
                standing(job),
                job.eligible.to_string(),
                job.begun.to_string(),
                job.succeeded.to_string(),
                job.failed.to_string(),
                job.under_way.to_string(),
                job.refused.to_string(),
                job.created_by.clone(),
                job.reason.clone(),
                job.note.clone(),
            ]
        })
        .collect();
    print::cells(output, &columns, &rows)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 10000".to_owned()),
    }
}
