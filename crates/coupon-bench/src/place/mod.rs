//! Where a measurement happens: a database, a logical database of Redis and two topics of its own, made before it and
//! removed after it, whatever happens in between.

mod database;
mod redis;
mod topics;

use anyhow::{Context, Result, anyhow, bail};
use sqlx::{Connection, PgConnection};
use tokio::{
    select,
    signal::unix::{Signal, SignalKind, signal},
};

pub use self::redis::{FIELD, OWNER, OwnRedis};
use crate::{binaries::Binaries, environment::Environment, progress};

/// Advisory lock of whoever measures: two at once would measure each other, and change settings of Redis crosswise.
const LOCK: i64 = 0x_0062_656e_6368;

/// Everything that a measurement has to itself.
pub struct Place {
    /// `postgres://…` of its own database.
    pub database_url: String,
    /// Its own logical database of Redis.
    pub redis: OwnRedis,
    /// Its topic of events; empty.
    pub topic: String,
    /// Its topic of dead letters; empty.
    pub dlq_topic: String,
    /// Begins every name it uses, such as those of consumer groups.
    pub prefix: String,
    environment: Environment,
    database: String,
}

impl Place {
    /// Lets a measurement work in a place of its own. The place is removed afterwards, also when the work fails or
    /// somebody stops it (SIGINT, SIGTERM); a second signal gives up removing.
    pub async fn own<T>(
        environment: &Environment,
        binaries: &Binaries,
        redis_number: Option<u16>,
        work: impl AsyncFnOnce(&Self) -> Result<T>,
    ) -> Result<T> {
        let mut stops = Stops::listen()?;
        let _alone = select! {
            alone = alone(environment) => alone?,
            name = stops.next() => bail!("stopped by {name}"),
        };
        let id = format!("{:08x}", rand::random::<u32>());
        // A moment, and not stopped half-way: what is claimed must be known to be given back.
        let redis = OwnRedis::claim(environment, &id, redis_number).await?;
        let prefix = format!("coupon-bench-{id}");
        let database = format!("coupon_bench_{id}");
        let place = Self {
            database_url: environment.database_named(&database),
            redis,
            topic: format!("{prefix}.coupon-issued"),
            dlq_topic: format!("{prefix}.coupon-issued.DLQ"),
            prefix,
            environment: environment.clone(),
            database,
        };
        progress::say(&format!("working in {}", place.names()));
        let outcome = select! {
            outcome = place.furnish_and(binaries, work) => outcome,
            name = stops.next() => Err(anyhow!("stopped by {name}; what was made is removed")),
        };
        let removed = select! {
            removed = place.remove() => removed,
            name = stops.next() => Err(anyhow!("stopped again by {name}")),
        };
        let removed = removed.with_context(|| format!("may be left behind: {}", place.names()));
        match (outcome, removed) {
            (outcome, Ok(())) => outcome,
            (Ok(_), Err(left)) => Err(left),
            (Err(error), Err(left)) => {
                progress::say(&format!("{left:#}"));
                Err(error)
            }
        }
    }

    /// Variables by which a binary finds the servers; the topics are settings of each.
    pub fn variables(&self) -> [(&str, &str); 3] {
        [
            ("DATABASE_URL", &self.database_url),
            ("REDIS_URL", &self.redis.url),
            ("KAFKA_BROKERS", self.environment.kafka_brokers()),
        ]
    }

    async fn furnish_and<T>(&self, binaries: &Binaries, work: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        self.redis.take_notes().await?;
        topics::create(self.environment.kafka_brokers(), &self.topic, 8, &[]).await?;
        topics::create(self.environment.kafka_brokers(), &self.dlq_topic, 4, topics::DLQ_SETTINGS).await?;
        database::create(self.environment.database(), &self.database).await?;
        database::migrate(&binaries.issue_consumer()?, &self.variables()).await?;
        work(self).await
    }

    /// Removes everything, each thing even if another cannot be removed. The first error is the outcome.
    async fn remove(&self) -> Result<()> {
        let removing = progress::step("removing what was made");
        let outcomes = [
            self.redis.give_back().await.context("the logical database of Redis"),
            database::remove(self.environment.database(), &self.database).await.context("the database"),
            topics::delete(self.environment.kafka_brokers(), &[&self.topic, &self.dlq_topic])
                .await
                .context("the topics"),
        ];
        removing.finish_and_clear();
        outcomes.into_iter().collect()
    }

    fn names(&self) -> String {
        let Self { database, redis, prefix, .. } = self;
        format!("database {database}, Redis database {}, topics {prefix}.*", redis.number)
    }
}

/// Waits until nobody else measures on these servers. The lock is held as long as the connection lives.
pub async fn alone(environment: &Environment) -> Result<PgConnection> {
    let connection = PgConnection::connect(environment.database()).await;
    let mut connection = connection.context("PostgreSQL of DATABASE_URL does not answer")?;
    let free: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut connection).await?;
    if !free {
        progress::say("another coupon-bench measures on these servers; waiting for its end");
        sqlx::query("SELECT pg_advisory_lock($1)").bind(LOCK).execute(&mut connection).await?;
    }
    Ok(connection)
}

/// Signals that ask to stop.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    /// From now on they no longer end the process.
    fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one and names it.
    async fn next(&mut self) -> &'static str {
        select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
