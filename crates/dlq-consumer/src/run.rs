//! The command `run`: the service.

use std::{process::ExitCode, sync::Arc, time::Duration};

use coupon_core::{
    clock::SystemClock,
    contract::{Contract, KAFKA, POSTGRESQL, REDIS, Watch},
    kafka::{BreakerStates, Broker, Engine, Policy, Publisher, Readiness},
    metrics_help,
    repo::{Database, Rehearsal, audit::Identity},
    retry,
    runtime::{Condition, Service, Shutdown},
    signing::EventReader,
    startup::{self, StartupError},
    stock::Stock,
    writing::Writer,
};
use tokio::sync::{Notify, oneshot};

use crate::{
    alarm::AlarmSender, config::Config, console, decision_relay::DecisionRelay, give_back_worker::GiveBackWorker, jobs,
    metrics_help::HELP, repair::Repair, webhooks::Webhooks,
};

const NAME: &str = "dlq-consumer";

/// Consumes, gives back and runs the jobs until stopped.
pub async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let events = config.events.reader()?;
    let service = Service::start(NAME, &config.log, &config.admin).await?;
    metrics_help::describe(HELP);
    // What is consumed belongs to traces that others have begun.
    service.export_traces(&config.telemetry, NAME, 0.0)?;
    events.announce();
    let consumed = Box::pin(consume(&config, events, &service)).await;
    let finished = service.finish().await;
    consumed?;
    finished?;
    Ok(ExitCode::SUCCESS)
}

async fn consume(config: &Config, events: EventReader, service: &Service) -> anyhow::Result<()> {
    let names =
        ["kafka topic", "postgresql schema", "redis", "consumer group", "contract", "consumer lag", "postgresql"];
    let [topic, schema, redis, joined, contract, lag, dependencies] = names.map(|name| service.health.condition(name));
    let clock = Arc::new(SystemClock);
    let database = Database::new(&config.database, NAME)?.rehearsing(Rehearsal::Decisions);
    let stock = Stock::new(&config.redis)?;
    config.kafka.client().keep_token(&service.tasks).await;
    let broker = Broker::new(&config.kafka.client(), NAME)?;
    let alarms_wakeup = Arc::new(Notify::new());
    let alarms = config.alarm_settings();
    let alarm_sender = AlarmSender::new(&alarms, database.clone(), clock.clone(), alarms_wakeup.clone())?;
    let webhooks = Webhooks::new(&config.webhooks, &database, &(clock.clone() as _))?;

    let breakers = BreakerStates::default();
    console::serve(config, NAME, &stock, &breakers, service)?;
    database.measure_on_scrape();
    let topics = config.kafka.topics();
    let [dead_letters, _] = &topics;
    let ready = startup::topic(&broker, dead_letters, &topic, &service.shutdown).await?
        && startup::schema(&database, &schema, &service.shutdown).await?;
    if !ready {
        return Ok(());
    }
    let writer = Writer::new(database.clone(), &config.writer);
    let give_backs_wakeup = Arc::new(Notify::new());
    // The helpers stop after the engine, so that the last decisions are still given back and their alarms sent.
    let helpers_stop = Shutdown::new();
    let helpers = service.tasks.stopped_by(helpers_stop.clone());
    let give_back_worker = GiveBackWorker {
        database: database.clone(),
        stock: stock.clone(),
        clock: clock.clone(),
        wakeup: give_backs_wakeup.clone(),
        interval: Duration::from_millis(config.sweeper.interval_ms),
    };
    helpers.spawn("give-backs", give_back_worker.run(helpers_stop.clone()));
    helpers.spawn("alarms", alarm_sender.run(helpers_stop.clone()));
    webhooks.start(database.clone(), &helpers);
    let operations = config.operations(database.clone(), stock.clone(), NAME, Identity::service(NAME))?;
    jobs::start(&operations, writer.clone(), config, &helpers, &helpers_stop);
    if config.decisions.enabled {
        let publisher = Publisher::of_decisions(&config.kafka.client(), NAME, &config.decisions.topic)?;
        publisher.measure_on_scrape();
        // Only watched: decisions that nobody is told of yet are decided all the same.
        let published = service.health.watched("decision topic");
        DecisionRelay::new(database.clone(), publisher, broker.clone(), published).start(&helpers, &helpers_stop);
    }

    let repair = Repair {
        writer,
        database: database.clone(),
        events,
        budget: config.give_up.budget(),
        clock: clock.clone(),
        give_backs_wakeup,
        alarms_wakeup,
    };
    let policy = Policy { schedule: retry::REPAIR, contended_is_final: false, drain: config.shutdown.drain() };
    let (client, group) = (config.kafka.client(), config.kafka.group());
    let settings = (&client, &group, &config.consumer);
    let readiness = Readiness { joined, dependencies, breakers };
    let engine = Engine::new(settings, NAME, &config.kafka.dlq_topic, policy, Arc::new(repair), clock, readiness)?;
    let servers = Contract {
        broker,
        topics: topics.into(),
        stock: Some(stock.clone()),
        database: database.clone(),
        needs: &[KAFKA, REDIS, POSTGRESQL],
    };
    // Whatever is wrong with a topic, its records are consumed: only reading saves them.
    Watch::begin(servers, &config.contract, contract, &service.tasks, |_| {});
    engine.watch_lag(&client, &config.lag, lag, &service.tasks)?;
    // Deciding does not need Redis; only the give-back worker waits for it.
    let (refused, mut refusal) = oneshot::channel();
    service.tasks.spawn("redis watch", require_redis(stock, redis, service.shutdown.clone(), refused));
    service.tasks.spawn("engine", engine.run(service.shutdown.clone())).ended().await;

    helpers_stop.begin("the engine has stopped");
    if !helpers.finished(config.shutdown.drain()).await {
        tracing::warn!(
            "the give-back worker or a job did not stop in time; what is due is given back after the next start"
        );
    }
    database.close().await;
    // `require_redis` sends before it begins the stop.
    refusal.try_recv().map_or(Ok(()), |error| Err(error.into()))
}

/// Waits for Redis beside the engine, and then watches it. A Redis that could lose reservations is `refused`, which stops the
/// service.
async fn require_redis(stock: Stock, condition: Condition, shutdown: Shutdown, refused: oneshot::Sender<StartupError>) {
    match startup::redis(&stock, &condition, &shutdown).await {
        Err(error) => {
            let why = error.to_string();
            // Only the end of `consume` reads it, which waits for the stop.
            let _ = refused.send(error);
            shutdown.begin(why);
        }
        Ok(false) => {}
        Ok(true) => {
            tokio::select! {
                () = shutdown.stopping() => {}
                () = startup::watch_redis(stock, condition) => {}
            }
        }
    }
}
