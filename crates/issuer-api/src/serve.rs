//! `serve`: what is connected in which order, and how it stops.

use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use coupon_core::{
    clock::SystemClock,
    contract::{Contract, KAFKA, REDIS, Watch},
    kafka::{Broker, Publisher},
    metrics_help,
    repo::Database,
    runtime::{Health, HttpLimits, Service, Shutdown, http as listener, on_scrape},
    signing::SigningKey,
    startup::{self, StartupError},
    stock::Stock,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    SERVICE,
    accept::Accept,
    acknowledge,
    admission::{Admission, AdmissionVerifier},
    auth::{self, Verifier},
    backend::Backend,
    campaign_metrics::{REFRESH_PERIOD, REFUSED_PERIOD},
    config::ApiSettings,
    coupon_lookup::CouponLookup,
    data_loss::DataLossReporter,
    detached::Detached,
    http::{Api, routes},
    metrics_help::HELP,
    publish::Publishing,
    relay::Relay,
    reservations::Reservations,
    sold_out::SoldOutCache,
    start::{self, Startup},
};

/// How long the client of Kafka may take to empty its queue when the time to drain is already over.
const LEAST_FLUSH: Duration = Duration::from_millis(100);

/// Answers members until stopped. Keys are settings, so a wrong one ends the process before anything is opened.
pub async fn serve(settings: &ApiSettings) -> anyhow::Result<ExitCode> {
    let verifier = Arc::new(settings.auth.verifier()?);
    let admission = settings.admission.verifier()?.map(Arc::new);
    let signing_key = settings.events.signer()?;
    let service = Service::start(SERVICE, &settings.log, &settings.admin).await?;
    metrics_help::describe(HELP);
    let telemetry = &settings.telemetry;
    service.export_traces(&telemetry.traces(), SERVICE, telemetry.sample_ratio)?;
    match &signing_key {
        Some(key) => tracing::info!("events are signed by the key {}", key.id()),
        None => tracing::info!("events are not signed: events.signing_key_files is empty"),
    }
    let outcome = Box::pin(work(settings, verifier, admission, signing_key, &service)).await;
    let finished = service.finish().await;
    outcome?;
    finished?;
    Ok(ExitCode::SUCCESS)
}

async fn work(
    settings: &ApiSettings,
    verifier: Arc<Verifier>,
    waiting_room: Option<Arc<AdmissionVerifier>>,
    signing_key: Option<SigningKey>,
    service: &Service,
) -> anyhow::Result<()> {
    let shutdown = &service.shutdown;
    // Conditions of their own, registered before any other can be met: the others can all be met before the door is open.
    let [accepting, contract_is] = ["accepting", "contract"].map(|name| service.health.condition(name));
    let watching = auth::watch(Arc::clone(&verifier), service.health.clone(), service.reload.subscribe());
    service.tasks.spawn_until_stop("keys", watching);
    if let Some(verifier) = &waiting_room {
        let watching = auth::watch(Arc::clone(verifier), service.health.clone(), service.reload.subscribe());
        service.tasks.spawn_until_stop("admission keys", watching);
    }
    let stock = Stock::new(&settings.redis)?;
    let database = Database::new(&settings.database, SERVICE)?;
    settings.kafka.client().keep_token(&service.tasks).await;
    let publisher = Publisher::new(&settings.kafka.client(), SERVICE, &settings.kafka.topic)?.signing_with(signing_key);
    let broker = Broker::new(&settings.kafka.client(), SERVICE)?;
    let detached = Detached::default();
    // What was acknowledged is deleted from the outbox until the very end.
    let drained = Shutdown::new();
    let deleting = service.tasks.stopped_by(drained.clone());
    let publishing = Publishing::new(publisher.clone(), acknowledge::spawn(stock.clone(), &deleting), detached.clone());
    let clock = Arc::new(SystemClock);
    let sold_out = Arc::new(SoldOutCache::new(stock.clone(), &settings.sold_out));
    let accept = Accept {
        stock: stock.clone(),
        reservations: Reservations::new(stock.clone(), publishing.clone(), Arc::clone(&sold_out), settings.outbox.cap),
        lookup: CouponLookup::new(database.clone()),
        sold_out: Arc::clone(&sold_out),
        data_loss: DataLossReporter::new(stock.clone(), database.clone(), clock.clone(), &settings.alarms.installation),
        detached: detached.clone(),
        clock,
    };
    let accept = Arc::new(accept);
    let admission = Arc::new(Admission::new(waiting_room, Arc::clone(&accept), database.clone()));
    let backend = Backend::Servers(accept);
    let api = Api::new(backend, Some(Arc::clone(&verifier)), &settings.http, &settings.telemetry);
    let mut api = api.asking(Arc::clone(&admission));
    // Where the campaigns are not public, nobody without a token may learn that one is sold out.
    if settings.sold_out.refuse_unverified && settings.http.public_campaigns {
        api = api.refusing_unverified(sold_out);
    }
    let api = Arc::new(api);
    measure_on_scrape(&api, &database, &publisher);

    let members = listener::bind(settings.http.listen, "http.listen").await?;
    tracing::info!(address = %settings.http.listen, "members ask at {}", settings.http.listen);
    // It listens before the checks, so that a client that comes too early gets an answer and not silence.
    let router = routes(Arc::clone(&api));
    let server = service.tasks.spawn("listener", listener::serve(members, router, limits(settings), shutdown.clone()));
    let topic = settings.kafka.wanted();
    let contract = Contract {
        broker: broker.clone(),
        topics: vec![topic.clone()],
        stock: Some(stock.clone()),
        database: database.clone(),
        needs: &[KAFKA, REDIS],
    };
    let watched = start::watch_topic(broker, topic, service.health.watched("kafka"), shutdown.clone());
    service.tasks.spawn("topic watch", watched);
    let started = tokio::select! {
        started = start::check(&stock, &database, &verifier, &admission, service) => started,
        () = shutdown.stopping() => Ok(Startup::Stopped),
    };
    let unfit: Arc<OnceLock<StartupError>> = Arc::default();
    match &started {
        Err(error) => shutdown.begin(format_args!("{error:#}")),
        Ok(Startup::Stopped) => {}
        Ok(Startup::Ready { schema_known }) => {
            api.open();
            accepting.ready();
            if !api.campaigns.is_off() {
                measure_campaigns(&api, &stock, &database, service);
            }
            Watch::begin(contract, &settings.contract, contract_is, &service.tasks, move |broken| api.hold(broken));
            let (tasks, health) = (&service.tasks, &service.health);
            let relay = Relay::new(stock.clone(), publishing, health.condition("publishing"), &settings.outbox);
            tasks.spawn("relay", relay.run(shutdown.clone()));
            tasks.spawn_until_stop("sequences", start::learn_sequences(stock.clone(), database.clone()));
            tasks.spawn_until_stop("admissions", admission.learn());
            tasks.spawn_until_stop("redis watch", startup::watch_redis(stock, health.condition("redis")));
            if !schema_known {
                let watch = stop_if_unfit(database.clone(), health.clone(), shutdown.clone(), Arc::clone(&unfit));
                tasks.spawn_until_stop("schema watch", watch);
            }
        }
    }

    shutdown.stopping().await;
    let end = Instant::now() + settings.shutdown.drain();
    server.ended().await;
    drain(&detached, &publisher, end).await;
    drained.begin("what could be published is deleted from the outbox");
    deleting.finished(LEAST_FLUSH).await;
    database.close().await;
    started?;
    match unfit.get() {
        Some(unfit) => Err(anyhow::anyhow!("{unfit}")),
        None => Ok(()),
    }
}

/// PostgreSQL was away at the start: its schema is looked at once it is back. Ends with the stop.
async fn stop_if_unfit(database: Database, health: Health, shutdown: Shutdown, unfit: Arc<OnceLock<StartupError>>) {
    if let Some(error) = start::schema_later(&database, &health).await {
        tracing::error!("{error}");
        let error = unfit.get_or_init(|| error);
        shutdown.begin(error);
    }
    shutdown.stopping().await;
}

/// Waits for what was begun; what is not acknowledged in time stays in the outbox, for the relay of another process.
async fn drain(detached: &Detached, publisher: &Publisher, end: Instant) {
    if timeout_at(end, detached.idle()).await.is_err() {
        let left = detached.pieces();
        tracing::warn!(left, "{left} reservations are not acknowledged yet and stay in the outbox");
    }
    let left = end.saturating_duration_since(Instant::now()).max(LEAST_FLUSH);
    if !publisher.flush(left).await {
        tracing::warn!("the client of kafka ends with records in its queue; the outbox holds them");
    }
}

/// Registers what is measured when `/metrics` is asked for.
fn measure_on_scrape(api: &Arc<Api>, database: &Database, publisher: &Publisher) {
    database.measure_on_scrape();
    publisher.measure_on_scrape();
    let api = Arc::downgrade(api);
    on_scrape(move || {
        let in_flight = api.upgrade().map_or(0, |api| api.in_flight());
        metrics::gauge!("coupon_http_requests_in_flight").set(u32::try_from(in_flight).unwrap_or(u32::MAX));
    });
}

/// Keeps the metrics of the campaigns that were opened last, and adds up for the console what is refused.
fn measure_campaigns(api: &Arc<Api>, stock: &Stock, database: &Database, service: &Service) {
    let parts = (Arc::clone(api), stock.clone(), database.clone());
    service.tasks.every("campaign metrics", REFRESH_PERIOD, move || {
        let (api, stock, database) = parts.clone();
        async move { api.campaigns.refresh(&stock, &database).await }
    });
    let parts = (Arc::clone(api), stock.clone());
    service.tasks.every("refused requests", REFUSED_PERIOD, move || {
        let (api, stock) = parts.clone();
        async move { api.campaigns.tell_refused(&stock).await }
    });
}

/// The limits of the listener for members.
pub(crate) fn limits(settings: &ApiSettings) -> HttpLimits {
    HttpLimits {
        header_timeout: settings.http.header_timeout(),
        idle_timeout: Duration::from_millis(settings.http.idle_timeout_ms),
        drain: settings.shutdown.drain(),
        // Idle connections cost little; a request too many gets its 429 instead of a place in the backlog.
        max_connections: settings.http.max_in_flight.saturating_mul(2).max(4096),
        name: "members",
    }
}
