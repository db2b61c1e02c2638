//! Advisory locks of PostgreSQL: one holder at a time among all processes.
//!
//! A lock lives as long as its connection, so a killed process releases it at once, without a lease. Work under a lock
//! is still guarded by itself, because a connection can break.

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
        let options = self.connect_options();
        let select = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
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
