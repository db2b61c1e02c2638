//! The servers under test, as `scripts/stack env` names them.

use coupon_core::{
    ids::CouponCode,
    repo::{
        Database, DatabaseSettings,
        coupons::{Actor, NewCoupon},
    },
    runtime::SecretUrl,
    stock::{RedisSettings, Stock},
};
use sqlx::{Connection, Executor, PgConnection};

/// A test needs the servers; `make test` starts them.
fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `make test`, or eval \"$(scripts/stack env)\""))
}

/// The stock on the real Redis.
pub fn stock() -> Stock {
    let url = SecretUrl::new(variable("REDIS_URL"));
    Stock::new(&RedisSettings { url, response_timeout_ms: 5000, connect_timeout_ms: 2000 }).unwrap()
}

/// A migrated database of its own, dropped by the next run of the same test.
pub async fn database(name: &str) -> (Database, String) {
    let url = variable("DATABASE_URL");
    let name = format!("core_{name}");
    let mut admin = PgConnection::connect(&url).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await.unwrap();
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
    let (base, _) = url.rsplit_once('/').unwrap();
    let url = format!("{base}/{name}");
    let settings = DatabaseSettings {
        url: SecretUrl::new(url.clone()),
        max_connections: 8,
        acquire_timeout_ms: 5000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5000,
    };
    let database = Database::new(&settings, "coupon-core tests").unwrap();
    database.migrate().await.unwrap();
    (database, url)
}

/// An open campaign with epoch 1, in PostgreSQL alone.
pub async fn campaign(database: &Database, code: &CouponCode, total: i64) {
    let now = chrono::Utc::now();
    let actor = || Actor { name: "test".to_owned(), now };
    let new =
        NewCoupon { coupon_code: code.clone(), total_quantity: total, opens_at: now, closes_at: None, valid_days: 30 };
    assert!(database.create_coupon(new, actor()).await.unwrap());
    assert_eq!(database.begin_opening(code.clone(), actor()).await.unwrap().unwrap().epoch, 1);
}
