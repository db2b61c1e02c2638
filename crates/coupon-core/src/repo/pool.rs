//! The connections to PostgreSQL, the bounds of database work, and the rule that a write is never cancelled half-way.

use std::{
    pin::pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sqlx::{
    PgConnection, PgPool, Postgres, Row,
    postgres::{PgArguments, PgPoolOptions},
    query::Query,
};

use tokio::{
    sync::Semaphore,
    time::{timeout, timeout_at},
};

use super::{
    RepoError,
    probe::{LastProbe, Rehearsal},
};
use crate::{crash, failure::Classified};

mod address;
mod connections;
mod dialer;
mod gauges;
mod settings;

pub use settings::DatabaseSettings;

pub(super) use connections::{NotConnected, Pool};
pub(super) use dialer::Dialer;

/// PostgreSQL, shared by everything in the process.
///
/// sqlx 0.9 can leave a pooled connection inside a transaction when the future that began it is dropped; a later write
/// through it reports success and is never committed. So every write runs in a task that goes on when its caller is
/// gone, the timeouts of the server bound it, and a connection that comes back inside a transaction is closed.
///
/// A server that vanished keeps its connections waiting for ever, and sqlx sets no keep-alive. So no statement waits
/// longer than a bound for its answer; then the pool is replaced, and the old one is left with whatever hangs in it.
/// The pool is also replaced when an answer says that the server or the session is the wrong one, and before each probe
/// of an outage: a connection that answers may still be one that cannot write.
#[derive(Clone)]
pub struct Database(pub(super) Arc<Inner>, pub(super) Rehearsal);

pub(super) struct Inner {
    options: PgPoolOptions,
    /// What a new connection is made with.
    dialer: Arc<Dialer>,
    /// Whether the connections lead to a pooler in transaction mode.
    pub(super) pooled: bool,
    /// Connections that the server must have room for.
    pub(super) budget: u32,
    pool: RwLock<PgPool>,
    /// Writes at a time: one fewer than there are connections, so that a probe finds one however much is written.
    writes: Semaphore,
    /// Longest wait for the answer to one statement.
    bound: Duration,
    pub(super) last_probe: LastProbe,
}

/// Time that an answer may take beyond the waits that the server or the pool bounds.
const ANSWER_GRACE: Duration = Duration::from_secs(3);
/// Bound of a long read.
const LONG_READ_TIMEOUT: Duration = Duration::from_mins(10);
/// Bound of the closing of the connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

impl Database {
    /// Prepares the pool; connections are opened when first needed. `service` is shown in `pg_stat_activity`.
    pub fn new(settings: &DatabaseSettings, service: &str) -> Result<Self, RepoError> {
        let dialer = Dialer::new(settings, service).map_err(RepoError::doing("read database.url"))?;
        let (acquire, statement) = (settings.acquire_timeout_ms, settings.statement_timeout_ms);
        let pool_options = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(acquire))
            .max_lifetime(Duration::from_millis(settings.max_lifetime_ms))
            .after_release(|connection, _| Box::pin(is_outside_a_transaction(connection)));
        let pool = pool_options.clone().connect_lazy_with(dialer.first());
        let writes = usize::try_from(settings.max_connections.saturating_sub(1).max(1)).unwrap_or(usize::MAX);
        let inner = Inner {
            options: pool_options,
            dialer: Arc::new(dialer),
            pooled: settings.pooled,
            budget: settings.budget.max(settings.max_connections),
            pool: RwLock::new(pool),
            writes: Semaphore::new(writes),
            bound: Duration::from_millis(acquire.saturating_add(statement)) + ANSWER_GRACE,
            last_probe: LastProbe::default(),
        };
        Ok(Self(Arc::new(inner), Rehearsal::None))
    }

    /// Runs a write to its end, also when its caller is gone. A refusal that may be an outage is confirmed by a probe.
    pub(super) async fn write<T, F>(
        &self,
        doing: &'static str,
        work: impl FnOnce(Pool) -> F + Send + 'static,
    ) -> Result<T, RepoError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let this = self.clone();
        // The turn is kept while the write runs, also when the caller is gone. The pool is taken when the turn comes:
        // an earlier one may have been replaced meanwhile.
        let turn = async move {
            let _turn = this.0.writes.acquire().await;
            match this.at_once(doing, work).await {
                Err(refusal) => Err(this.confirmed(refusal).await),
                done => done,
            }
        };
        tokio::spawn(turn).await.map_err(|source| RepoError::Task { doing, source })?
    }

    /// Runs one statement as a write. Returns the number of rows affected.
    pub(super) async fn execute(
        &self,
        doing: &'static str,
        statement: Query<'static, Postgres, PgArguments>,
    ) -> Result<u64, RepoError> {
        self.write(doing, |pool| async move { Ok(statement.execute(&pool).await?.rows_affected()) }).await
    }

    /// Runs a write without waiting for its turn, and without a probe.
    pub(super) async fn at_once<T, F>(&self, doing: &'static str, work: impl FnOnce(Pool) -> F) -> Result<T, RepoError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let pool = self.pool();
        let task = tokio::spawn(crash::around(doing, work(pool.clone())));
        let ended = self.waited_for(doing, &pool, task).await?;
        self.answered(doing, &pool, ended.map_err(|source| RepoError::Task { doing, source })?)
    }

    /// Runs a read, which may be cancelled. A refusal that may be an outage is confirmed by a probe.
    pub(super) async fn read<T>(
        &self,
        doing: &'static str,
        read: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, RepoError> {
        let pool = self.pool();
        let answer = self.waited_for(doing, &pool, read).await?;
        match self.answered(doing, &pool, answer) {
            Err(refusal) => Err(self.confirmed(refusal).await),
            answer => answer,
        }
    }

    /// Runs a read of a whole campaign, within the long bound; a server that vanished is noticed late.
    pub(super) async fn long_read<T>(
        &self,
        doing: &'static str,
        read: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, RepoError> {
        let pool = self.pool();
        match timeout(LONG_READ_TIMEOUT, read).await {
            Ok(answer) => match self.answered(doing, &pool, answer) {
                Err(refusal) => Err(self.confirmed(refusal).await),
                answer => answer,
            },
            Err(_) => Err(RepoError::Silent { doing, within: LONG_READ_TIMEOUT }),
        }
    }

    /// Returns connections of the current pool, for one read or write.
    pub(super) fn pool(&self) -> Pool {
        let connections = self.0.pool.read().unwrap_or_else(PoisonError::into_inner).clone();
        Pool::new(connections, Arc::clone(&self.0.dialer))
    }

    /// Replaces the pool: the next statement gets a new connection.
    pub(super) fn renew(&self) {
        self.replace(&self.pool(), "a probe after an outage needs a new connection");
    }

    /// Makes the options of connections outside the pool.
    pub(super) fn dialer(&self) -> &Dialer {
        &self.0.dialer
    }

    /// Closes the connections, after their running statements; those that take too long are left.
    pub async fn close(&self) {
        if timeout(CLOSE_TIMEOUT, self.pool().connections.close()).await.is_err() {
            tracing::warn!("postgresql does not let its connections go; they are left");
        }
    }

    /// Waits for an answer. Without one within the bound, which begins anew with each statement, the pool is replaced.
    async fn waited_for<T>(
        &self,
        doing: &'static str,
        pool: &Pool,
        answer: impl Future<Output = T>,
    ) -> Result<T, RepoError> {
        let mut answer = pin!(answer);
        loop {
            let until = pool.last_begun() + self.0.bound;
            match timeout_at(until, &mut answer).await {
                Ok(answer) => return Ok(answer),
                Err(_) if pool.last_begun() + self.0.bound > until => {}
                Err(_) => {
                    self.replace(pool, "it is silent");
                    return Err(RepoError::Silent { doing, within: self.0.bound });
                }
            }
        }
    }

    /// Returns an answer. One that says that the server or the session is the wrong one replaces the pool.
    fn answered<T>(&self, doing: &'static str, pool: &Pool, answer: Result<T, sqlx::Error>) -> Result<T, RepoError> {
        answer.map_err(RepoError::doing(doing)).inspect_err(|error| {
            if error.says_that_the_session_is_wrong() {
                self.replace(pool, &error.summary());
            }
        })
    }

    /// Replaces a pool, unless it is replaced already.
    fn replace(&self, left: &Pool, why: &str) {
        let mut pool = self.0.pool.write().unwrap_or_else(PoisonError::into_inner);
        // Two handles of one pool share their options.
        if std::ptr::eq(std::ptr::from_ref(pool.options()), std::ptr::from_ref(left.connections.options())) {
            tracing::info!("the connections to postgresql are left and new ones made: {why}");
            self.0.dialer.forget();
            *pool = self.0.options.clone().connect_lazy_with(self.0.dialer.first());
        }
    }
}

/// Outside a transaction block a statement is its own transaction, so the two times are equal; inside a block the
/// transaction began before the statement. An aborted block answers with an error, which also closes the connection.
///
/// Sent by the simple protocol: in the extended one the statement's time is that of the last of several messages, and
/// the times always differ.
async fn is_outside_a_transaction(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::raw_sql("SELECT transaction_timestamp() = statement_timestamp()").fetch_one(connection).await?;
    row.try_get(0)
}

#[cfg(test)]
mod tests;
