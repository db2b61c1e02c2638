//! The servers under test, as `scripts/stack env` names them.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    repo::{
        Database, DatabaseSettings,
        audit::{Actor, Identity},
        coupons::NewCoupon,
    },
    runtime::SecretUrl,
    stock::{Fill, RedisSettings, Stock},
};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::{Instant, sleep};

/// `DATABASE_URL`.
pub fn url() -> String {
    variable("DATABASE_URL")
}

/// `DATABASE_URL` with another role and another database.
pub fn url_of(role: &str, password: &str, database: &str) -> String {
    let server = variable("DATABASE_URL");
    let (_, place) = server.rsplit_once('@').unwrap();
    let (place, _) = place.split_once('/').unwrap();
    format!("postgres://{role}:{password}@{place}/{database}")
}

/// A test needs the servers; `make test` starts them.
fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `make test`, or eval \"$(scripts/stack env)\""))
}

/// The last logical database of the stack's Redis: in number 0 the relay of a running service would join in.
pub fn redis_url() -> String {
    let url = variable("REDIS_URL");
    let base = url.rsplit_once('/').filter(|(base, _)| !base.ends_with('/')).map_or(url.as_str(), |(base, _)| base);
    format!("{base}/1023")
}

/// The stock on the real Redis.
pub fn stock() -> Stock {
    let url = SecretUrl::new(redis_url());
    Stock::new(&RedisSettings::at(url, 5000, 2000)).unwrap()
}

/// A database without a schema for one test.
pub struct EmptyDatabase {
    name: String,
    /// Where it is.
    pub url: String,
}

impl EmptyDatabase {
    /// Creates it; what a failed run of the same test left is dropped first.
    pub async fn create(name: &str) -> Self {
        let name = format!("core_{name}");
        administrate(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
        administrate(&format!("CREATE DATABASE {name}")).await;
        let server = variable("DATABASE_URL");
        let (base, _) = server.rsplit_once('/').unwrap();
        let url = format!("{base}/{name}");
        Self { name, url }
    }

    /// Leaves nothing behind.
    pub async fn drop(self) {
        administrate(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await;
    }
}

/// A migrated database for one test.
pub struct OwnDatabase {
    name: String,
    database: Database,
    url: String,
}

impl OwnDatabase {
    /// Creates it; what a failed run of the same test left is dropped first.
    pub async fn create(name: &str) -> Self {
        Self::with_connections(name, 8).await
    }

    /// The same with so many connections at most.
    pub async fn with_connections(name: &str, max_connections: u32) -> Self {
        Self::with(name, max_connections, 5000).await
    }

    /// The same with so long a wait for a lock at most, in ms.
    pub async fn with_lock_timeout(name: &str, lock_timeout_ms: u64) -> Self {
        Self::with(name, 8, lock_timeout_ms).await
    }

    async fn with(name: &str, max_connections: u32, lock_timeout_ms: u64) -> Self {
        let EmptyDatabase { name, url } = EmptyDatabase::create(name).await;
        let settings = DatabaseSettings {
            url: SecretUrl::new(url.clone()),
            max_connections,
            acquire_timeout_ms: 5000,
            statement_timeout_ms: 10_000,
            lock_timeout_ms,
            max_lifetime_ms: 60_000,
            ..DatabaseSettings::default()
        };
        let database = Database::new(&settings, "coupon-core tests").unwrap();
        database.migrate().await.unwrap();
        Self { name, database, url }
    }

    /// The database as the product sees it, and its URL.
    pub fn parts(&self) -> (Database, String) {
        (self.database.clone(), self.url.clone())
    }

    /// Leaves nothing behind.
    pub async fn drop(self) {
        self.database.close().await;
        administrate(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name)).await;
    }
}

/// Runs a statement as the owner of everything, in the database of `DATABASE_URL`.
pub async fn administrate(statement: &str) {
    let mut server = PgConnection::connect(&variable("DATABASE_URL")).await.unwrap();
    server.execute(sqlx::AssertSqlSafe(statement.to_owned())).await.unwrap();
}

/// The data of a new coupon of this total, of epoch 1, without an end.
pub fn fill_of(total: i64) -> Fill {
    Fill {
        epoch: 1,
        total,
        total_version: 0,
        window_version: 0,
        opens_at_ms: 1,
        closes_at_ms: None,
        seq: 0,
        replace: false,
    }
}

/// Removes what a test did to a coupon in Redis.
pub async fn forget(code: &CouponCode) {
    let client = redis::Client::open(redis_url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let mut pipeline = redis::pipe();
    for key in ["meta", "issued", "outbox", "relay", "refused"] {
        pipeline.del(format!("coupon:{{{code}}}:{key}"));
    }
    let _: redis::Value = pipeline.srem("coupons", code.as_str()).query_async(&mut raw).await.unwrap();
}

/// An open campaign with epoch 1, in PostgreSQL alone.
pub async fn campaign(database: &Database, code: &CouponCode, total: i64) {
    let now = chrono::Utc::now();
    let actor = || Actor { by: Identity::command_line("test"), now };
    let new = NewCoupon {
        coupon_code: code.clone(),
        total_quantity: total,
        opens_at: now,
        closes_at: None,
        valid_days: 30,
        admission_required: false,
    };
    assert!(database.coupons().create(new, actor()).await.unwrap());
    assert_eq!(database.coupons().begin_opening(code.clone(), actor()).await.unwrap().unwrap().epoch, 1);
}

/// Waits until so many statements in this database have waited for a lock for so long.
pub async fn wait_for_locks(url: &str, statements: i64, for_ms: f64) {
    let select = "SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'
                    AND clock_timestamp() - query_start >= $1 * interval '1 ms'";
    let mut raw = PgConnection::connect(url).await.unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let waiting: i64 = sqlx::query_scalar(select).bind(for_ms).fetch_one(&mut raw).await.unwrap();
        if waiting >= statements {
            return;
        }
        assert!(Instant::now() < end, "{waiting} of {statements} wait for a lock for {for_ms} ms");
        // Nothing tells of it.
        sleep(Duration::from_millis(10)).await;
    }
}
