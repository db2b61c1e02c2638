//! Advisory locks of PostgreSQL: one holder at a time among all processes.
//!
//! A lock lives as long as a transaction of its own, and that as long as its connection, so a killed process releases it
//! at once, without a lease. It is no lock of the session: behind a pooler that one would stay on the pooler's connection
//! when its holder is gone. The transaction has read nothing that it keeps, so it holds up no vacuum. Work under a lock is
//! still guarded by itself, because a connection can break.

use sqlx::{Connection, PgConnection};

use super::{Database, RepoError};

/// An advisory lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    connection: PgConnection,
}

impl Database {
    /// Takes the lock of this name. `None` while another process holds it.
    pub async fn try_lock(&self, name: &str) -> Result<Option<Lock>, RepoError> {
        let select = async {
            let options = self.dialer().options().await?;
            let mut connection = PgConnection::connect_with(&options).await?;
            sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
            // It idles for as long as the work takes; `transaction_timeout` exists from version 17 on.
            sqlx::query(
                "SELECT set_config(name, '0', true) FROM pg_settings
                 WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')",
            )
            .execute(&mut connection)
            .await?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
            Ok(taken.then_some(Lock { connection }))
        };
        self.read("take a lock", select).await
    }
}

impl Lock {
    /// Releases the lock.
    pub async fn release(self) {
        // Dropping the connection would release it too.
        self.connection.close().await.ok();
    }
}
