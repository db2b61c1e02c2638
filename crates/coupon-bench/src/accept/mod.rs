//! `coupon-bench accept`: how much of what its parts allow the accept path reaches, and how soon members have an answer
//! and a row when half of that comes, and when hardly anybody does.

mod capacity;
mod chain;
mod elsewhere;
mod figures;
mod half;
mod promises;
mod rows;

use anyhow::{Context, Result, ensure};
use clap::Args;
use coupon_e2e::process::Process;

use crate::{
    environment::Environment,
    limits::{self, Limits, table::Collected},
    measure::{servers::Machines, usage},
    progress,
    rounds::{Rounds, seconds},
    tokens::{TokenAlgorithm, apart},
};

pub use self::{
    capacity::{accepted_all, address, log, prepare, remark},
    chain::Stage,
    promises::{hold, written},
};

/// The campaign that members ask for.
pub const CODE: &str = "BENCH-ACCEPT";

/// More than any run can hand out.
pub const PLENTY: u64 = 50_000_000;

/// Arguments: what is measured, how long and how often.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  coupon-bench accept\n  coupon-bench accept --rounds 3 --json accept.json\n  \
                   coupon-bench accept --url http://localhost:8080 --coupon SPRING --secret-file hmac.secret \
                   --issuer ISS --audience AUD --rate 500")]
pub struct AcceptArgs {
    /// Length of each run at full load, in seconds; with --url of the one run.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Length of each run at half load and at 5 % load, in seconds.
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = seconds)]
    half_seconds: f64,
    /// How the tokens of members are signed; with --url always HS256.
    #[arg(long, value_enum, default_value_t)]
    algorithm: TokenAlgorithm,
    /// Measure only the limits and issuer-api alone at full load.
    #[arg(long)]
    alone: bool,
    /// Let the services come by TLS to PostgreSQL, Redis and Kafka, on servers of this run alone; the limits stay plain.
    #[arg(long)]
    tls: bool,
    #[command(flatten)]
    rounds: Rounds,
    #[command(flatten)]
    elsewhere: elsewhere::Elsewhere,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &AcceptArgs) -> Result<()> {
    let environment = environment.signing_with(arguments.algorithm.into());
    let environment = &if arguments.tls { environment.encrypted().await? } else { environment };
    let mut collected = Collected::default();
    let round = async |_| {
        let limit = Limits::measure(environment, arguments.seconds).await?;
        capacity::measure(environment, arguments.seconds, &limit, &mut collected).await?;
        if !arguments.alone {
            with_consumer(environment, arguments, &mut collected).await?;
        }
        Ok(limit)
    };
    let limits = arguments.rounds.each(round).await?;
    let figures = [limits::figures(&limits), collected.figures(figures::ROWS)].concat();
    progress::say("the CPU time of the load generator is in load_cpu_us and in no other figure");
    let own = ("accept.http_cpu_ratio", arguments.algorithm.most_cpu());
    let figures = arguments.algorithm.named(figures, own);
    arguments.rounds.finish(environment, if arguments.tls { apart("tls", figures) } else { figures }).await
}

impl AcceptArgs {
    /// Whether another system is asked, for which no server of the environment is needed.
    pub fn is_elsewhere(&self) -> bool {
        self.elsewhere.is_meant()
    }

    /// Measures the other system.
    pub async fn run_elsewhere(&self) -> Result<()> {
        ensure!(self.rounds.json.is_none(), "--json is for figures of this machine; with --url there are none");
        ensure!(
            self.algorithm == TokenAlgorithm::default(),
            "--algorithm is for a world of its own; with --url it is HS256"
        );
        self.elsewhere.run(self.seconds).await
    }
}

/// Everything that is measured while an issue-consumer writes along: on one world, one run after the other.
async fn with_consumer(environment: &Environment, arguments: &AcceptArgs, collected: &mut Collected) -> Result<()> {
    let machines = Machines::find(environment);
    let stage = Stage::set(environment).await?;
    // VmRSS once ready.
    for (name, service) in stage.services() {
        collected.put(format!("memory.{name}_idle_mib"), memory_mib(service)?.0);
    }
    let (mut asked, per_second) = stage.full_load(arguments.seconds, &machines, collected).await?;
    for (name, share) in [("light", 0.05), ("half", 0.5)] {
        let load = (name, per_second * share, arguments.half_seconds);
        asked = half::steady(&stage, &machines, asked, load, collected).await?;
    }
    // VmHWM; dlq-consumer had nothing to do, and its figure is not shown.
    for (name, service) in stage.services() {
        collected.put(format!("memory.{name}_loaded_mib"), memory_mib(service)?.1);
    }
    hold(&stage.world).await
}

fn memory_mib(service: &Process) -> Result<(f64, f64)> {
    usage::memory_mib(&usage::process(service.pid())?).context("a service has ended")
}
