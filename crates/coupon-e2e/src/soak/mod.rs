//! `coupon-soak`: members ask for an hour, faults strike, operators work, and every promise is judged; see the README.

mod check;
mod crowd;
mod dump;
mod fault;
mod fleet;
mod kept;
mod operator;
mod samples;
mod strike;
mod strike_servers;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use chrono::Utc;
use clap::Parser;
use futures_util::future::join_all;
use serde_json::json;
use tokio::{task::JoinSet, time};

use self::{crowd::Crowd, fault::Fault, fleet::Fleet, kept::Kept, operator::Operator};
use crate::wait::pause;

/// Time from the last fault until every promise has to hold.
const CONVERGED: Duration = Duration::from_mins(2);
/// Requests in an hour, unless said otherwise.
const REQUESTS_IN_AN_HOUR: u64 = 1_000_000;
/// Between two checks of what can be judged while the run goes on.
const BETWEEN_CHECKS: Duration = Duration::from_mins(1);

/// Lets members ask for an hour while services, servers and the ways between them fail; then judges every promise.
#[derive(Clone, Debug, Parser)]
#[command(name = "coupon-soak", version)]
pub struct Arguments {
    /// Length of the run, in minutes
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Seed of everything that is left to chance; a random one when not given
    #[arg(long)]
    seed: Option<u64>,
    /// Requests of members in all; 1,000,000 in an hour when not given
    #[arg(long)]
    requests: Option<u64>,
    /// Only faults whose kind contains this text, to look for one kind of trouble
    #[arg(long, default_value = "")]
    only: String,
}

/// What the tasks of a run share.
struct Run {
    fleet: Fleet,
    crowd: Crowd,
    kept: Kept,
    seed: u64,
    started: Instant,
    /// Set when the last fault is over: members go home, operators only repair.
    is_over: AtomicBool,
    /// What is wrong already while the run goes on.
    wrong: std::sync::Mutex<Vec<String>>,
}

impl Run {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Notes a violation; the run goes on and fails at its end.
    fn note_wrong(&self, text: String) -> Result<()> {
        println!("does not hold: {text}");
        self.kept.line("checks.jsonl", &json!({"at": Utc::now(), "wrong": text}))?;
        self.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(text);
        Ok(())
    }
}

/// Runs it and prints the verdict; the exit code says whether every promise held.
pub async fn main(arguments: Arguments) -> Result<ExitCode> {
    let seed = arguments.seed.unwrap_or_else(rand::random::<u64>);
    let length = Duration::from_mins(arguments.minutes);
    let requests = arguments.requests.unwrap_or(REQUESTS_IN_AN_HOUR * arguments.minutes / 60);
    let kept = Kept::new(seed)?;
    println!(
        "soak: {} min, {requests} requests, --seed {seed}; files in {}",
        arguments.minutes,
        kept.folder().display()
    );
    let faults = fault::schedule(seed, length, &arguments.only);
    ensure!(!faults.is_empty(), "no kind of fault contains {:?}", arguments.only);
    for fault in &faults {
        kept.line("schedule.jsonl", &fault.to_json())?;
    }
    let fleet = Fleet::start().await?;
    let crowd = Crowd::new(seed, requests, length);
    let started = Instant::now();
    let run =
        Run { fleet, crowd, kept, seed, started, is_over: AtomicBool::new(false), wrong: std::sync::Mutex::default() };
    let run = Arc::new(run);
    let code = play(&run, faults, length).await;
    run.kept.copy_logs(run.fleet.world.folder())?;
    code
}

async fn play(run: &Arc<Run>, faults: Vec<Fault>, length: Duration) -> Result<ExitCode> {
    let mut operator = Operator::new(Arc::clone(run));
    operator.open_first().await?;
    let mut members: JoinSet<Result<()>> = JoinSet::new();
    for client in 0..fleet::CLIENTS {
        for _ in 0..crowd::ASKERS {
            members.spawn(crowd::ask(Arc::clone(run), client));
        }
    }
    let operating = async {
        while !run.is_over() {
            operator.work().await?;
        }
        Ok(())
    };
    let ((struck, last_fault), (), (), (), ()) = tokio::try_join!(
        strike_all(run, &faults, length),
        samples::take(run),
        keep_answers(run),
        check_each_minute(run),
        operating
    )?;
    println!("{:>5} s  faults and members are over", run.started.elapsed().as_secs());
    members.join_all().await.into_iter().collect::<Result<()>>()?;
    let verdict = check::at_rest(run, &mut operator, last_fault + CONVERGED).await?;
    let converged = last_fault.elapsed();
    dump::everything(run).await?;
    if !operator.reconcile_all().await? {
        run.note_wrong("the comparison of an operator did not end with 0, see commands.jsonl".to_owned())?;
    }
    for grown in samples::grown(run)? {
        run.note_wrong(grown)?;
    }
    let exits = run.fleet.unasked_exits();
    if exits > 0 {
        run.note_wrong(format!("{exits} services ended by themselves, see faults.jsonl"))?;
    }
    let mut broken: Vec<String> = verdict.violations.iter().map(ToString::to_string).collect();
    for violation in &broken {
        println!("does not hold: {violation}");
    }
    let kinds: Vec<String> = verdict.kinds().iter().map(|kind| format!("{kind:?}")).collect();
    broken.extend(run.wrong.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone());
    run.kept.line(
        "oracle.jsonl",
        &json!({
            "seed": run.seed, "holds": verdict.violations.is_empty(), "kinds": kinds, "accepted": verdict.accepted,
            "issued": verdict.issued, "compensated": verdict.compensated, "lost": verdict.lost,
            "oversold": verdict.oversold, "duplicates": verdict.duplicates, "asked": run.crowd.asked(),
            "faults": struck, "converged_s": converged.as_secs(), "wrong": broken,
        }),
    )?;
    println!("{struck} faults, {} requests, at rest {} s after the last fault", run.crowd.asked(), converged.as_secs());
    println!("the oracle: {verdict}");
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Strikes with each fault at its time; those that share a time strike together. Returns how many struck, and when the last
/// one was over.
async fn strike_all(run: &Run, faults: &[Fault], length: Duration) -> Result<(usize, Instant)> {
    let mut struck = 0;
    for together in faults.chunk_by(|one, other| one.at == other.at) {
        time::sleep_until((run.started + together[0].at).into()).await;
        for outcome in join_all(together.iter().map(|fault| strike::strike(run, fault))).await {
            struck += usize::from(outcome?);
        }
        run.fleet.start_what_has_ended(&run.kept).await?;
    }
    time::sleep_until((run.started + length).into()).await;
    run.is_over.store(true, Ordering::Relaxed);
    Ok((struck, Instant::now()))
}

/// Writes the answers that came to the files, all the while.
async fn keep_answers(run: &Run) -> Result<()> {
    while !run.is_over() {
        pause(Duration::from_secs(1)).await;
        run.kept.answers(&run.fleet.world.answers.take())?;
    }
    Ok(())
}

async fn check_each_minute(run: &Run) -> Result<()> {
    let mut told = check::Told::default();
    let mut next = run.started + BETWEEN_CHECKS;
    while !run.is_over() {
        pause(Duration::from_millis(500)).await;
        if Instant::now() >= next {
            next = Instant::now() + BETWEEN_CHECKS;
            check::while_running(run, &mut told).await?;
        }
    }
    Ok(())
}
