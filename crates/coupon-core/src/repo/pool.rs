//! The connections to PostgreSQL, and the rule that database work is never cancelled half-way.

use std::{str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use sqlx::{
    PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::RepoError;
use crate::runtime::{SecretUrl, SettingsError};

/// The `[database]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseSettings {
    /// Where PostgreSQL is: `postgres://user:password@host:port/database`.
    pub url: SecretUrl,
    /// Most connections of this process.
    pub max_connections: u32,
    /// How long a free connection is waited for, in ms; longer means the database is unavailable.
    pub acquire_timeout_ms: u64,
    /// Longest statement, in ms (`statement_timeout`).
    pub statement_timeout_ms: u64,
    /// Longest wait for a row lock, in ms (`lock_timeout`).
    pub lock_timeout_ms: u64,
}

/// PostgreSQL, shared by everything in the process.
///
/// sqlx 0.9 can leave a pooled connection inside a transaction when the future that began it is dropped; what is
/// written through it later reports success and is never committed. So every write runs through
/// [`Database::detached`], in a task that goes on when its caller is gone, is bounded by the timeouts of the server,
/// and a connection that comes back inside a transaction all the same is thrown away.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
}

impl DatabaseSettings {
    /// Tests what the types cannot: the form of the URL and the bounds of the numbers.
    pub fn check(&self) -> Result<(), SettingsError> {
        if PgConnectOptions::from_str(self.url.expose()).is_err() {
            let allowed = "a URL of the form postgres://user:password@host:port/database";
            return Err(SettingsError::invalid("database.url", &self.url, allowed));
        }
        if !(1..=500).contains(&self.max_connections) {
            return Err(SettingsError::invalid("database.max_connections", self.max_connections, "1 to 500"));
        }
        for (key, value) in [
            ("database.acquire_timeout_ms", self.acquire_timeout_ms),
            ("database.statement_timeout_ms", self.statement_timeout_ms),
            ("database.lock_timeout_ms", self.lock_timeout_ms),
        ] {
            if !(50..=600_000).contains(&value) {
                return Err(SettingsError::invalid(key, value, "50 to 600000 ms"));
            }
        }
        Ok(())
    }
}

impl Database {
    /// Prepares the pool; connections are made when first needed. `service` is shown in `pg_stat_activity`.
    pub fn new(settings: &DatabaseSettings, service: &str) -> Result<Self, RepoError> {
        let timeout = |ms: u64| ms.to_string();
        let options = PgConnectOptions::from_str(settings.url.expose())
            .map_err(RepoError::doing("read database.url"))?
            .application_name(service)
            .options([
                ("timezone", "UTC".to_owned()),
                ("statement_timeout", timeout(settings.statement_timeout_ms)),
                ("lock_timeout", timeout(settings.lock_timeout_ms)),
                // A process that is stopped inside a transaction must not hold a campaign's row for ever.
                ("idle_in_transaction_session_timeout", timeout(settings.statement_timeout_ms)),
            ]);
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
            .after_release(|connection, _| Box::pin(is_outside_a_transaction(connection)))
            .connect_lazy_with(options);
        Ok(Self { pool })
    }

    /// Runs database work to its end, whatever becomes of the caller.
    pub(super) async fn detached<T, F>(
        &self,
        doing: &'static str,
        work: impl FnOnce(PgPool) -> F,
    ) -> Result<T, RepoError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        match tokio::spawn(work(self.pool.clone())).await {
            Ok(result) => result.map_err(RepoError::doing(doing)),
            Err(source) => Err(RepoError::Task { doing, source }),
        }
    }

    /// The pool, for reads: a read that is cancelled leaves nothing behind.
    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether a write commits now. An outage is over when this succeeds, not when a port answers.
    pub async fn probe(&self) -> Result<(), RepoError> {
        self.detached("commit a probe", |pool| async move {
            sqlx::query(
                "INSERT INTO write_probe (probed_at) VALUES (now())
                 ON CONFLICT (only_row) DO UPDATE SET probed_at = excluded.probed_at",
            )
            .execute(&pool)
            .await
            .map(drop)
        })
        .await
    }

    /// Whether PostgreSQL answers.
    pub async fn ping(&self) -> Result<(), RepoError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(drop).map_err(RepoError::doing("ping"))
    }

    /// Closes the connections, after the statements that are running.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Outside a transaction block a statement is its own transaction, so the two times are one; inside a block the
/// transaction began before this statement did. An aborted block answers with an error, which also drops it.
///
/// Asked in the simple protocol: in the extended one the statement's time is that of the last of several messages,
/// and the times always differ.
async fn is_outside_a_transaction(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT transaction_timestamp() = statement_timestamp()").fetch_one(connection).await?;
    row.try_get(0)
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, Executor};

    use super::*;

    /// Every release asks; an answer that is always no would make a new connection for every statement.
    #[tokio::test]
    async fn a_connection_inside_a_transaction_is_told_from_one_outside() {
        let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make test`");
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query("SELECT 1").execute(&mut connection).await.unwrap();
        assert!(is_outside_a_transaction(&mut connection).await.unwrap());
        connection.execute("BEGIN").await.unwrap();
        assert!(!is_outside_a_transaction(&mut connection).await.unwrap());
        assert!(connection.execute("SELECT no_such_column").await.is_err());
        assert!(is_outside_a_transaction(&mut connection).await.is_err(), "an aborted transaction");
        connection.execute("ROLLBACK").await.unwrap();
        assert!(is_outside_a_transaction(&mut connection).await.unwrap());
    }
}
