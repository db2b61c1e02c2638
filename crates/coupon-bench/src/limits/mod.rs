//! `coupon-bench limits`: what the parts of accepting can do alone, each measured through the very code of the service:
//! HTTP with the check of a token and without, the script in Redis, and an acknowledged record in Kafka. No accept path on this
//! machine can be faster than what these leave of each second.

pub mod bare;
mod operations;
pub mod table;

use anyhow::{Context, Result};
use clap::Args;
use coupon_core::{
    clock::SystemClock,
    event::{CouponIssued, VERSION},
    ids::{CouponCode, MemberId, RequestId},
    kafka::{KafkaSettings, Publisher},
    runtime::SecretUrl,
    stock::{Held, RedisSettings, Stock},
};
use coupon_e2e::world::World;
use tokio::sync::oneshot;

use crate::{
    environment::Environment,
    figures::{Figure, Unit},
    load::CONNECTIONS,
    measure::servers::Machines,
    progress,
    rounds::{Rounds, seconds},
};

/// Total of a campaign that no measurement can sell out.
const PLENTY: u64 = 100_000_000;

/// Arguments: what is measured, how long and how often.
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// Length of each measurement in seconds.
    #[arg(long, value_name = "S", default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    #[command(flatten)]
    rounds: Rounds,
}

/// Throughput and CPU time of one part without the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limit {
    /// Operations a second at the limit.
    pub per_second: f64,
    /// CPU time of whoever calls, for each operation.
    pub caller_cpu_us: f64,
    /// CPU time of whoever is called, for each operation.
    pub server_cpu_us: f64,
}

impl Limit {
    /// The limit of the parts of an operation that does `parts` at once.
    fn of_each(self, parts: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let parts = parts as f64;
        Self {
            per_second: self.per_second * parts,
            caller_cpu_us: self.caller_cpu_us / parts,
            server_cpu_us: self.server_cpu_us / parts,
        }
    }

    /// How much of one core the caller was busy; a producer has further threads, and may be at more than one.
    pub fn busy(&self) -> f64 {
        self.per_second * self.caller_cpu_us / 1e6
    }
}

/// Members that one call of the script decides.
const TOGETHER: usize = 16;
/// Records on their way to Kafka at once: so many that the producer waits for no one. With as few as there are
/// connections it would only show how long a record lingers, and be a limit that is none.
const RECORDS_AT_ONCE: usize = 4096;

/// The limits of one round.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// HTTP without the check of a token.
    pub http: Limit,
    /// HTTP with the check of a token.
    pub bare: Limit,
    /// The script `reserve.lua` alone.
    pub script: Limit,
    /// A record that Kafka acknowledges.
    pub produce: Limit,
}

/// Measures all rounds, prints the table of figures and writes their file.
pub async fn run(environment: &Environment, arguments: &LimitsArgs) -> Result<()> {
    let LimitsArgs { seconds, rounds } = arguments;
    let all = rounds.each(async |_| Limits::measure(environment, *seconds).await).await?;
    rounds.finish(environment, figures(&all)).await
}

impl Limits {
    /// Measures all, one after the other.
    pub async fn measure(environment: &Environment, seconds: f64) -> Result<Self> {
        let (machines, world) = (Machines::find(environment), environment.world().await?);
        let http = bare::measure_unchecked(&world, seconds).await?;
        let bare = bare::measure(&world, seconds).await?;
        let script = script(&world, &machines, seconds).await?;
        let produce = produce(environment, &world, &machines, seconds).await?;
        Ok(Self { http, bare, script, produce })
    }

    /// Requests a second if each took HTTP with its token, script and producer one after the other, and nothing besides.
    pub fn together(&self) -> f64 {
        1.0 / (1.0 / self.bare.per_second + 1.0 / self.script.per_second + 1.0 / self.produce.per_second)
    }
}

/// Reservations by distinct members, as `issuer-api` makes them under load: for some at once.
async fn script(world: &World, machines: &Machines, seconds: f64) -> Result<Limit> {
    let _running = progress::step("the script alone");
    world.open_campaign("LIMIT", PLENTY).await?;
    let url = SecretUrl::new(world.redis_url.clone());
    let code: CouponCode = "LIMIT".parse()?;
    let settings = RedisSettings::at(url, 5000, 5000);
    let stock = tokio::sync::OnceCell::new();
    let operation = operations::repeat(seconds, CONNECTIONS / TOGETHER, &machines.redis, async move |number| {
        // Made on the thread that uses it: the connection lives on that thread's runtime.
        let stock = stock.get_or_try_init(async || Stock::new(&settings)).await?;
        let members = (0..TOGETHER).map(|one| crate::load::member(number * TOGETHER + one).parse());
        let members = members.collect::<Result<Vec<MemberId>, _>>()?;
        let requests: Vec<_> = members.iter().map(|member| (RequestId::make(&SystemClock), member)).collect();
        for reservation in stock.reserve_all(&code, &requests, PLENTY).await? {
            anyhow::ensure!(
                matches!(reservation, Ok(Ok(Held { is_repeat: false, .. }))),
                "not reserved: {reservation:?}"
            );
        }
        Ok(())
    });
    let limit = operation.await.context("the limit of the script")?;
    Ok(limit.of_each(TOGETHER))
}

/// Events, each acknowledged, as `issuer-api` publishes them.
async fn produce(environment: &Environment, world: &World, machines: &Machines, seconds: f64) -> Result<Limit> {
    let _running = progress::step("the producer alone");
    let settings = KafkaSettings { brokers: environment.kafka_brokers().to_owned(), ..KafkaSettings::default() };
    let publisher = Publisher::new(&settings, "coupon-bench", world.topic.name())?;
    let code: CouponCode = "LIMIT".parse()?;
    let operation = operations::repeat(seconds, RECORDS_AT_ONCE, &machines.kafka, async move |number| {
        let event = CouponIssued {
            version: VERSION,
            request_id: RequestId::make(&SystemClock),
            coupon_code: code.clone(),
            member_id: crate::load::member(number).parse()?,
            reserved_at: chrono::Utc::now().timestamp_millis(),
            epoch: 1,
            seq: 1,
            traceparent: None,
        };
        let (tell, delivered) = oneshot::channel();
        publisher.publish(&event, None, |delivered| drop(tell.send(delivered)))?;
        delivered.await??;
        Ok(())
    });
    operation.await.context("the limit of the producer")
}

/// Returns the figures of all rounds.
pub fn figures(rounds: &[Limits]) -> Vec<Figure> {
    let figure =
        |id: &str, name: &str, unit: Unit, of: fn(&Limits) -> f64| Figure::new(id, name, unit, rounds.iter().map(of));
    let rate = |id: &str, name: &str, of: fn(&Limits) -> Limit| {
        let figure = Figure::new(id, name, Unit::PerSecond, rounds.iter().map(|limits| of(limits).per_second));
        let busy = rounds.iter().map(|limits| of(limits).busy()).fold(0.0, f64::max) * 100.0;
        let odd = if busy > 90.0 { "; this may be its own limit" } else { "" };
        figure.remark(format!("the caller, on the same machine, was busy {busy:.0} % of one core{odd}"))
    };
    // The limit of writing, COPY, needs the rows of a drain, and is measured there.
    vec![
        rate("limits.http_per_second", "HTTP alone, no token check", |limits| limits.http),
        rate("limits.bare_per_second", "HTTP and token alone", |limits| limits.bare),
        rate("limits.script_per_second", "the script alone", |limits| limits.script),
        rate("limits.produce_per_second", "the producer alone", |limits| limits.produce),
        figure("http.cpu_us", "CPU of HTTP alone", Unit::Us, |limits| limits.http.server_cpu_us),
        figure("bare.cpu_us", "CPU of HTTP and token", Unit::Us, |limits| limits.bare.server_cpu_us),
        figure("script.caller_cpu_us", "CPU of calling the script", Unit::Us, |limits| limits.script.caller_cpu_us),
        figure("script.redis_cpu_us", "CPU of Redis in the script", Unit::Us, |limits| limits.script.server_cpu_us),
        figure("produce.caller_cpu_us", "CPU of producing", Unit::Us, |limits| limits.produce.caller_cpu_us),
        figure("produce.kafka_cpu_us", "CPU of Kafka taking it", Unit::Us, |limits| limits.produce.server_cpu_us),
    ]
}
