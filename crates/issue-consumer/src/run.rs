//! `run`: the service. `doctor`: what is wrong with its servers, and how to put it right.

use std::{process::ExitCode, sync::Arc};

use coupon_core::{
    clock::SystemClock,
    contract::{Contract, KAFKA, POSTGRESQL, Watch, rights},
    failure::Class,
    kafka::{BreakerStates, Broker, Engine, Policy, Publisher, Readiness, Right},
    metrics_help,
    repo::{Database, Rehearsal},
    retry,
    runtime::{Service, admin::count_from_zero, doctor},
    signing::EventReader,
    startup,
    writing::Writer,
};

use crate::{config::Config, metrics_help::HELP, write::Write};

const NAME: &str = "issue-consumer";

/// Prints one line for each finding; exit code 1 when anything is wrong.
pub async fn doctor(config: &Config) -> anyhow::Result<ExitCode> {
    let (servers, kafka) = (servers(config, "issue-consumer doctor")?, &config.kafka);
    let wanted = [
        Right::Consume { topic: kafka.topic.clone(), group: kafka.group_id.clone() },
        Right::Publish { topic: kafka.dlq_topic.clone() },
    ];
    let findings = servers.findings().await.into_iter().map(Into::into);
    Ok(doctor::print(
        [config.events.finding()].into_iter().chain(findings).chain(rights(&servers.broker, &wanted).await),
    ))
}

/// The servers of this service, asked under the name `client`.
fn servers(config: &Config, client: &str) -> anyhow::Result<Contract> {
    Ok(Contract {
        broker: Broker::new(&config.kafka.client(), client)?,
        topics: config.kafka.topics().into(),
        stock: None,
        database: Database::new(&config.database, client)?.rehearsing(Rehearsal::Issues),
        needs: &[KAFKA, POSTGRESQL],
    })
}

/// Consumes until stopped.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let events = config.events.reader()?;
    let service = Service::start(NAME, &config.log, &config.admin).await?;
    metrics_help::describe(HELP);
    // What is consumed belongs to traces that others have begun.
    service.export_traces(&config.telemetry, NAME, 0.0)?;
    events.announce();
    let consumed = consume(&config, events, &service).await;
    let finished = service.finish().await;
    consumed?;
    finished?;
    Ok(ExitCode::SUCCESS)
}

async fn consume(config: &Config, events: EventReader, service: &Service) -> anyhow::Result<()> {
    let names = [
        "kafka topic",
        "kafka dead letter topic",
        "postgresql schema",
        "consumer group",
        "contract",
        "consumer lag",
        "postgresql",
    ];
    let [main_topic, dlq_topic, schema, joined, contract, lag, needs] =
        names.map(|name| service.health.condition(name));
    let clock = Arc::new(SystemClock);
    config.kafka.client().keep_token(&service.tasks).await;
    let servers = servers(config, NAME)?;
    let (broker, database) = (&servers.broker, servers.database.clone());
    let dead_letters = Publisher::of_dead_letters(&config.kafka.client(), NAME, &config.kafka.dlq_topic)?;

    database.measure_on_scrape();
    dead_letters.measure_on_scrape();
    let [main, dlq] = config.kafka.topics();
    let ready = startup::topic(broker, &main, &main_topic, &service.shutdown).await?
        && startup::topic(broker, &dlq, &dlq_topic, &service.shutdown).await?
        && startup::schema(&database, &schema, &service.shutdown).await?;
    if !ready {
        return Ok(());
    }
    count_from_zero("coupon_dead_letters_written_total", "class", Class::WORDS.iter().copied());
    let write = Write {
        writer: Writer::new(database.clone(), &config.writer),
        database: database.clone(),
        dead_letters: dead_letters.clone(),
        events,
        group: config.kafka.group_id.clone(),
        clock: clock.clone(),
    };
    let drain = config.shutdown.drain();
    let policy = Policy { schedule: retry::WRITE, contended_is_final: true, drain };
    let (client, group) = (config.kafka.client(), config.kafka.group());
    let settings = (&client, &group, &config.consumer);
    let readiness = Readiness { joined, dependencies: needs, breakers: BreakerStates::default() };
    let engine = Engine::new(settings, NAME, &config.kafka.topic, policy, Arc::new(write), clock, readiness)?;
    // What is in the log is read on, whatever is wrong with the log: only reading saves it.
    Watch::begin(servers, &config.contract, contract, &service.tasks, |_| {});
    engine.watch_lag(&client, &config.lag, lag, &service.tasks)?;
    service.tasks.spawn("engine", engine.run(service.shutdown.clone())).ended().await;
    if !dead_letters.flush(drain).await {
        tracing::warn!("dead letters were left in the queue; their records are consumed again");
    }
    database.close().await;
    Ok(())
}
