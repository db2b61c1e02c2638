//! Connections for one read or write. A failure to get a connection is told from the answer to a statement.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use sqlx::{
    Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, SqlStr, Transaction,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::Instant;

use super::Dialer;

/// Connections for one read or write; clones belong to the same one.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(in crate::repo) connections: PgPool,
    dialer: Arc<Dialer>,
    last_begun: Arc<Mutex<Instant>>,
}

/// A transaction of [`Pool::begin`]; dropped without a commit, it is rolled back.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    of: Pool,
}

/// No connection was available, whatever the code of the reason: no statement was sent.
#[derive(Debug, thiserror::Error)]
#[error("no connection")]
pub(in crate::repo) struct NotConnected(#[source] pub(in crate::repo) sqlx::Error);

impl Pool {
    pub(super) fn new(connections: PgPool, dialer: Arc<Dialer>) -> Self {
        Self { connections, dialer, last_begun: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Tx, sqlx::Error> {
        let inner = self.connected(|| self.connections.begin()).await?;
        Ok(Tx { inner, of: self.clone() })
    }

    /// Returns the time at which the last statement began.
    pub(super) fn last_begun(&self) -> Instant {
        *self.last_begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a connection, for several statements that are no transaction.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.connected(|| self.connections.acquire()).await
    }

    /// Gets a connection; a new one is made with the password and the host of this moment. What may fail because they
    /// have changed is tried once more.
    async fn connected<T, F>(&self, connect: impl Fn() -> F) -> Result<T, sqlx::Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        self.note();
        if self.dialer.is_fixed() {
            return connect().await.map_err(not_connected);
        }
        if self.connections.num_idle() == 0 && self.may_grow() {
            self.prepare().await?;
        }
        match connect().await {
            Err(error) if self.may_grow() && self.dialer.may_have_changed(&error) => {
                self.dialer.forget();
                self.note();
                self.prepare().await?;
                let again = connect().await;
                // Of a connection that waited to be made, the first reason says more.
                again.map_err(|other| if matches!(other, sqlx::Error::PoolTimedOut) { error } else { other })
            }
            other => other,
        }
        .map_err(not_connected)
    }

    /// Gives the pool the options of its next connections.
    async fn prepare(&self) -> Result<(), sqlx::Error> {
        self.connections.set_connect_options(self.dialer.options().await.map_err(not_connected)?);
        Ok(())
    }

    fn may_grow(&self) -> bool {
        self.connections.size() < self.connections.options().get_max_connections()
    }

    fn note(&self) {
        *self.last_begun.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Wrapped in the driver's error type, which an executor has to return; unwrapped by `RepoError::doing`.
fn not_connected(error: sqlx::Error) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(NotConnected(error)))
}

impl Tx {
    /// Commits the transaction.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.of.note();
        self.inner.commit().await
    }

    /// Rolls the transaction back.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.of.note();
        self.inner.rollback().await
    }
}

impl Deref for Tx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.inner
    }
}

/// Every statement borrows the connection anew, so that each has a bound of its own.
impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.of.note();
        &mut self.inner
    }
}

impl<'p> Executor<'p> for &'_ Pool {
    type Database = Postgres;

    /// Reads the whole result: no caller needs a stream.
    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        let all = async move {
            let all: Vec<_> = pool.acquire().await?.fetch_many(query).try_collect().await?;
            Ok::<_, sqlx::Error>(stream::iter(all.into_iter().map(Ok)))
        };
        Box::pin(stream::once(all).try_flatten())
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.fetch_optional(query).await })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        let pool = self.clone();
        Box::pin(async move { pool.acquire().await?.describe(sql).await })
    }
}
