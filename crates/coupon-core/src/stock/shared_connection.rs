//! The connection to Redis of a process, and when a working one is replaced.
//!
//! The driver makes a new connection when the old one breaks. It would keep for ever one that works and answers that this is
//! a replica, a node without these keys or an unknown login, and a login that was refused once.

use std::{
    sync::{Mutex, PoisonError, RwLock},
    time::Duration,
};

use redis::{
    Client,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use tokio::time::Instant;

use super::StockError;
use crate::retry::Backoff;

/// Time without a wrong answer after which the back-off of reconnecting begins anew.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(10);

/// The present connection, shared by all calls of a process.
pub(super) struct SharedConnection {
    client: Client,
    config: ConnectionManagerConfig,
    current: RwLock<NumberedConnection>,
    reconnect: Mutex<Reconnect>,
}

/// A connection, with its number among those of the process.
#[derive(Clone)]
pub(super) struct NumberedConnection {
    number: u64,
    pub(super) connection: ConnectionManager,
}

/// When a new connection may be made.
struct Reconnect {
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl SharedConnection {
    /// Prepares the connection, which is made by the first call.
    pub(super) fn new(client: Client, config: ConnectionManagerConfig) -> Result<Self, StockError> {
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?;
        let current = RwLock::new(NumberedConnection { number: 0, connection });
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
        Ok(Self { client, config, current, reconnect: Mutex::new(Reconnect { not_before: None, backoff }) })
    }

    /// The present connection.
    pub(super) fn current(&self) -> NumberedConnection {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces a connection that leads to the wrong server, so that the next call connects anew. This happens once in each
    /// wait of the back-off, however many calls fail: until then they get the same answer.
    pub(super) fn replace(&self, used: &NumberedConnection, why: &StockError) {
        let mut reconnect = self.reconnect.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if used.number != self.current().number || reconnect.not_before.is_some_and(|earliest| now < earliest) {
            return;
        }
        let connection = match ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone()) {
            Ok(connection) => connection,
            Err(error) => return tracing::error!(%error, "redis cannot be dialled again"),
        };
        if reconnect.not_before.is_some_and(|earliest| now.duration_since(earliest) > BACKOFF_RESET_AFTER) {
            reconnect.backoff.reset();
        }
        reconnect.not_before = Some(now + reconnect.backoff.next_wait());
        let number = used.number + 1;
        tracing::debug!(error = %crate::runtime::chain(why), number, "the connection to redis is dropped, and redis dialled again");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = NumberedConnection { number, connection };
    }
}
