//! The connections to PostgreSQL, and the rule that database work is never cancelled half-way.

use std::{
    pin::pin,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use sqlx::{
    PgConnection, PgPool, Row,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use tokio::{
    sync::Semaphore,
    time::{timeout, timeout_at},
};

use super::{
    RepoError,
    probe::{Doubts, Rehearsal},
};
use crate::{crash, failure::Classified};

mod connections;
mod settings;

pub use settings::DatabaseSettings;

pub(super) use connections::{NotConnected, Pool};

/// PostgreSQL, shared by everything in the process.
///
/// sqlx 0.9 can leave a pooled connection inside a transaction when the future that began it is dropped; what is
/// written through it later reports success and is never committed. So every write runs
/// in a task that goes on when its caller is gone, is bounded by the timeouts of the server,
/// and a connection that comes back inside a transaction all the same is thrown away.
///
/// A server that vanished without a word keeps its connections waiting for ever, and sqlx sets no keep-alive. So
/// no statement waits longer than a bound for its answer; then the pool is replaced, and what hangs in the old one is
/// left. The pool is also replaced when an answer says that the server or the session is the wrong one, and before each
/// probe of an outage: a connection that answers is not yet a good one.
#[derive(Clone)]
pub struct Database(pub(super) Arc<Inner>, pub(super) Rehearsal);

pub(super) struct Inner {
    options: (PgPoolOptions, PgConnectOptions),
    pool: RwLock<PgPool>,
    /// Writes at a time: one connection fewer than there are, so that a probe finds one however much is to be written.
    writes: Semaphore,
    /// Longest wait for the answer to one statement.
    bound: Duration,
    pub(super) doubts: Doubts,
}

/// How long an answer may take beyond the waits that the server or the pool bounds.
const ANSWER_GRACE: Duration = Duration::from_secs(3);
/// How long a question about a whole campaign may take.
const LONG_READ_TIMEOUT: Duration = Duration::from_mins(10);
/// How long the connections may take to say good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

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
        let (acquire, statement) = (settings.acquire_timeout_ms, settings.statement_timeout_ms);
        let pool_options = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(Duration::from_millis(acquire))
            .max_lifetime(Duration::from_millis(settings.max_lifetime_ms))
            .after_release(|connection, _| Box::pin(is_outside_a_transaction(connection)));
        let pool = pool_options.clone().connect_lazy_with(options.clone());
        let writes = usize::try_from(settings.max_connections.saturating_sub(1).max(1)).unwrap_or(usize::MAX);
        let inner = Inner {
            options: (pool_options, options),
            pool: RwLock::new(pool),
            writes: Semaphore::new(writes),
            bound: Duration::from_millis(acquire.saturating_add(statement)) + ANSWER_GRACE,
            doubts: Doubts::default(),
        };
        Ok(Self(Arc::new(inner), Rehearsal::None))
    }

    /// Runs database work to its end, whatever becomes of the caller. What the server refuses for a reason that may lie in
    /// a row, or in somebody who is in the way, is believed only once a probe has committed.
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
        // The turn is kept as long as the work is waited for, also when the caller is gone. The pool is that of the
        // moment the turn comes: the one before may have gone silent meanwhile.
        let turn = async move {
            let _turn = this.0.writes.acquire().await;
            match this.at_once(doing, work).await {
                Err(refusal) => Err(this.judged(refusal).await),
                done => done,
            }
        };
        tokio::spawn(turn).await.map_err(|source| RepoError::Task { doing, source })?
    }

    /// The same without waiting for a turn, and without asking a probe.
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

    /// Asks without changing anything: a read that is cancelled leaves nothing behind.
    pub(super) async fn read<T>(
        &self,
        doing: &'static str,
        question: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, RepoError> {
        let pool = self.pool();
        let answer = self.waited_for(doing, &pool, question).await?;
        match self.answered(doing, &pool, answer) {
            Err(refusal) => Err(self.judged(refusal).await),
            answer => answer,
        }
    }

    /// The same for a question that may rightly take long; a server that vanished is noticed late.
    pub(super) async fn long_read<T>(
        &self,
        doing: &'static str,
        question: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, RepoError> {
        let pool = self.pool();
        match timeout(LONG_READ_TIMEOUT, question).await {
            Ok(answer) => match self.answered(doing, &pool, answer) {
                Err(refusal) => Err(self.judged(refusal).await),
                answer => answer,
            },
            Err(_) => Err(RepoError::Silent { doing, within: LONG_READ_TIMEOUT }),
        }
    }

    /// Connections of the pool of now, for one piece of work.
    pub(super) fn pool(&self) -> Pool {
        Pool::new(self.0.pool.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Lets go of every connection there is: the next statement gets a new one.
    pub(super) fn renew(&self) {
        self.replace(&self.pool(), "a probe after an outage needs a new connection");
    }

    /// How a connection outside the pool is made.
    pub(super) fn connect_options(&self) -> PgConnectOptions {
        self.0.options.1.clone()
    }

    /// Closes the connections, after the statements that are running; those that take long are left.
    pub async fn close(&self) {
        if timeout(CLOSE_TIMEOUT, self.pool().connections.close()).await.is_err() {
            tracing::warn!("postgresql does not let its connections go; they are left");
        }
    }

    /// Waits for an answer. Without one within the bound, counted anew from each statement of the work, the connections of
    /// its pool are not to be trusted any more.
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

    /// An answer; one that says that this server or session is the wrong one makes an end of all its kind.
    fn answered<T>(&self, doing: &'static str, pool: &Pool, answer: Result<T, sqlx::Error>) -> Result<T, RepoError> {
        answer.map_err(RepoError::doing(doing)).inspect_err(|error| {
            if error.says_that_the_session_is_wrong() {
                self.replace(pool, &error.summary());
            }
        })
    }

    /// Once for each pool, however many were waiting for it.
    fn replace(&self, left: &Pool, why: &str) {
        let mut pool = self.0.pool.write().unwrap_or_else(PoisonError::into_inner);
        // Two handles of one pool share their options.
        if std::ptr::eq(std::ptr::from_ref(pool.options()), std::ptr::from_ref(left.connections.options())) {
            tracing::info!("the connections to postgresql are left and new ones made: {why}");
            let (options, connect) = self.0.options.clone();
            *pool = options.connect_lazy_with(connect);
        }
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
mod tests;
