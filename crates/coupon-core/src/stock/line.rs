//! The line to Redis: a connection that mends itself, and that is dialled anew when it leads to the wrong server.
//!
//! The driver makes a new connection when the old one breaks. One that works and answers that this is a replica, a node
//! without these keys or nobody's login would be kept for ever, and so would a login that was refused once.

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

/// Wrong answers that are further apart begin the back-off anew.
const QUIET: Duration = Duration::from_secs(10);

/// The line, shared by all calls of a process.
pub(super) struct Line {
    client: Client,
    config: ConnectionManagerConfig,
    current: RwLock<Dialled>,
    redial: Mutex<Redial>,
}

/// A connection, and which one of the process it is.
#[derive(Clone)]
pub(super) struct Dialled {
    number: u64,
    pub(super) connection: ConnectionManager,
}

/// When the line may be dialled again.
struct Redial {
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Line {
    /// Nothing is dialled before the first call.
    pub(super) fn new(client: Client, config: ConnectionManagerConfig) -> Result<Self, StockError> {
        let connection = ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?;
        let current = RwLock::new(Dialled { number: 0, connection });
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
        Ok(Self { client, config, current, redial: Mutex::new(Redial { not_before: None, backoff }) })
    }

    /// The connection of now.
    pub(super) fn current(&self) -> Dialled {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops a connection that leads to the wrong place, so that the next call dials. At most once in each wait of the
    /// back-off, however many calls find out: until then they are answered as they were.
    pub(super) fn hang_up(&self, used: &Dialled, why: &StockError) {
        let mut redial = self.redial.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if used.number != self.current().number || redial.not_before.is_some_and(|earliest| now < earliest) {
            return;
        }
        let connection = match ConnectionManager::new_lazy_with_config(self.client.clone(), self.config.clone()) {
            Ok(connection) => connection,
            Err(error) => return tracing::error!(%error, "redis cannot be dialled again"),
        };
        if redial.not_before.is_some_and(|earliest| now.duration_since(earliest) > QUIET) {
            redial.backoff.reset();
        }
        redial.not_before = Some(now + redial.backoff.next_wait());
        let number = used.number + 1;
        tracing::debug!(error = %crate::runtime::chain(why), number, "the connection to redis is dropped, and redis dialled again");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Dialled { number, connection };
    }
}
