//! One at a time over all processes: advisory locks of PostgreSQL.
//!
//! A lock lives as long as the connection that took it, so a process that is killed gives it back at once, and nobody
//! waits for a lease to run out. What is done under it is guarded by itself all the same: a connection can break.

use sqlx::{Connection, PgConnection};

use super::{Database, RepoError};

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    connection: PgConnection,
}

impl Database {
    /// Takes the lock of this name, unless somebody has it.
    pub async fn try_lock(&self, name: &str) -> Result<Option<Lock>, RepoError> {
        let options = self.connect_options();
        let question = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
                .bind(name)
                .fetch_one(&mut connection)
                .await?;
            Ok(taken.then_some(Lock { connection }))
        };
        self.read("take a lock", question).await
    }
}

impl Lock {
    /// Gives the lock back.
    pub async fn release(self) {
        // Also without this, by the end of the connection.
        self.connection.close().await.ok();
    }
}
