//! `/health`: what the service waits for, how far the groups are, the servers' versions and the settings. `/health/doctor`:
//! what is wrong with the servers.

use askama::Template;
use axum::{extract::State, response::Response};
use coupon_core::{
    kafka::{BreakerState, Cluster, ConsumerProgress, PartitionProgress},
    runtime::{Report, doctor::Finding},
};
use serde::Serialize;

use crate::{
    Console,
    access::Caller,
    answer::{Frame, View},
    show::number,
    tile::Tile,
};

/// The page.
#[derive(Debug, Serialize)]
struct HealthView {
    /// Version of the build.
    version: &'static str,
    /// What the service waits for.
    report: Report,
    /// Version of PostgreSQL.
    postgresql: Tile<String>,
    /// Version of Redis, of each master of a cluster; `None`: it does not tell this user.
    redis: Tile<Option<String>>,
    /// The brokers. They tell clients no version.
    kafka: Tile<Cluster>,
    /// The circuit breakers of this process.
    breakers: Vec<BreakerState>,
    /// The consumer groups.
    groups: Vec<Group>,
    /// The effective settings as TOML, without secrets.
    settings: String,
}

/// How far a group is in its topic.
#[derive(Debug, Serialize)]
struct Group {
    group: String,
    topic: String,
    partitions: Tile<Vec<PartitionProgress>>,
}

/// What is wrong with the servers.
#[derive(Debug, Serialize)]
struct Doctor {
    findings: Vec<Checked>,
}

/// The result of one check.
#[derive(Debug, Serialize)]
struct Checked {
    /// What was checked.
    name: String,
    /// `ok`, `warn` or `FAIL`.
    verdict: &'static str,
    /// What was seen, or what is wrong and how to put it right.
    text: String,
}

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage<'a> {
    frame: &'a Frame,
    health: &'a HealthView,
}

#[derive(Template)]
#[template(path = "doctor.html")]
struct DoctorPage<'a> {
    frame: &'a Frame,
    doctor: &'a Doctor,
}

impl View for HealthView {
    fn title(&self) -> String {
        "Health".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        HealthPage { frame, health: self }.render()
    }
}

impl View for Doctor {
    fn title(&self) -> String {
        "Checks of the servers".to_owned()
    }

    fn html(&self, frame: &Frame) -> askama::Result<String> {
        DoctorPage { frame, doctor: self }.render()
    }
}

impl Group {
    async fn of(progress: &ConsumerProgress) -> Self {
        let partitions = Tile::of("Kafka", progress.by_partition()).await;
        Self { group: progress.group().to_owned(), topic: progress.topic().to_owned(), partitions }
    }

    fn lag(&self) -> String {
        let Tile::Known(partitions) = &self.partitions else { return String::new() };
        number(&partitions.iter().map(|partition| partition.lag).sum())
    }
}

impl From<Finding> for Checked {
    fn from(finding: Finding) -> Self {
        Self { name: finding.name().to_owned(), verdict: finding.verdict(), text: finding.text().to_owned() }
    }
}

pub(super) async fn show(State(console): State<Console>, caller: Caller) -> Response {
    let operations = &console.operations;
    let versions = async { operations.stock.server_versions().await.map(|versions| Some(versions?.join(", "))) };
    let (postgresql, redis, kafka, main, dead_letters) = tokio::join!(
        Tile::of("PostgreSQL", operations.database.server_version()),
        Tile::of("Redis", versions),
        Tile::of("Kafka", operations.main.cluster()),
        Group::of(&operations.main),
        Group::of(&operations.dead_letters),
    );
    let view = HealthView {
        version: env!("CARGO_PKG_VERSION"),
        report: console.health.report(),
        postgresql,
        redis,
        kafka,
        breakers: console.host.breakers(),
        groups: vec![main, dead_letters],
        settings: console.host.settings(),
    };
    console.show(&caller, &view)
}

pub(super) async fn doctor(State(console): State<Console>, caller: Caller) -> Response {
    let findings = console.host.doctor().await.into_iter().map(Checked::from).collect();
    console.show(&caller, &Doctor { findings })
}
