//! The command `run`: the service.

use std::{process::ExitCode, sync::Arc};

use coupon_core::{
    clock::SystemClock,
    contract::{Contract, KAFKA, POSTGRESQL, Watch},
    failure::Class,
    kafka::{Broker, Engine, Policy, Publisher, Readiness},
    metrics_help,
    repo::{Database, Rehearsal},
    retry,
    runtime::{Service, admin::count_from_zero},
    startup,
    writing::Writer,
};

use crate::{config::Config, metrics_help::HELP, write::Write};

const NAME: &str = "issue-consumer";

/// Consumes until the process is told to stop, and then drains.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let service = Service::start(NAME, &config.log, &config.admin).await?;
    metrics_help::describe(HELP);
    let consumed = consume(&config, &service).await;
    let finished = service.finish().await;
    consumed?;
    finished?;
    Ok(ExitCode::SUCCESS)
}

async fn consume(config: &Config, service: &Service) -> anyhow::Result<()> {
    let names = [
        "kafka topic",
        "kafka dead letter topic",
        "postgresql schema",
        "consumer group",
        "contract",
        "consumer lag",
        "postgresql",
    ];
    let [main_topic, dlq_topic, schema, joined, contract, lag, dependencies] =
        names.map(|name| service.health.condition(name));
    let clock = Arc::new(SystemClock);
    let database = Database::new(&config.database, NAME)?.rehearsing(Rehearsal::Issues);
    let broker = Broker::new(&config.kafka.client(), NAME)?;
    let dead_letters = Publisher::of_dead_letters(&config.kafka.client(), NAME, &config.kafka.dlq_topic)?;

    let topics = config.kafka.topics();
    let [main, dead_letter] = &topics;
    let ready = startup::topic(&broker, main, &main_topic, &service.shutdown).await?
        && startup::topic(&broker, dead_letter, &dlq_topic, &service.shutdown).await?
        && startup::schema(&database, &schema, &service.shutdown).await?;
    if !ready {
        return Ok(());
    }
    count_from_zero("coupon_dead_letters_written_total", "class", Class::WORDS.iter().copied());
    let write = Write {
        writer: Writer::new(database.clone(), &config.writer),
        database: database.clone(),
        dead_letters: dead_letters.clone(),
        group: config.kafka.group_id.clone(),
        clock: clock.clone(),
    };
    let drain = config.shutdown.drain();
    let policy = Policy { schedule: retry::WRITE, contended_is_final: true, drain };
    let (client, group) = (config.kafka.client(), config.kafka.group());
    let settings = (&client, &group, &config.consumer);
    let readiness = Readiness { joined, dependencies };
    let engine = Engine::new(settings, NAME, &config.kafka.topic, policy, Arc::new(write), clock, readiness)?;
    let servers = Contract {
        broker,
        topics: topics.into(),
        stock: None,
        database: database.clone(),
        needs: &[KAFKA, POSTGRESQL],
    };
    // Whatever is wrong with a topic, its records are consumed: only reading saves them.
    Watch::begin(servers, &config.contract, contract, &service.tasks, |_| {});
    engine.watch_lag(&client, &config.lag, lag, &service.tasks)?;
    service.tasks.spawn("engine", engine.run(service.shutdown.clone())).ended().await;
    if !dead_letters.flush(drain).await {
        tracing::warn!("dead letters were left in the queue; their records are consumed again");
    }
    database.close().await;
    Ok(())
}
