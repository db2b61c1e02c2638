//! The connection to one server, and when it is replaced.
//!
//! One that breaks is replaced at once. One that works and answers that this is a replica, a node without these keys or an
//! unknown login, and a login that was refused, are replaced with a back-off.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use redis::{RedisError, RedisResult, Value, aio::MultiplexedConnection};
use tokio::time::Instant;

use super::{
    StockError,
    call::{Asking, Call},
    dial::{Address, Dialer},
};
use crate::retry::Backoff;

/// Time without a wrong answer after which the back-off of reconnecting begins anew.
const BACKOFF_RESET_AFTER: Duration = Duration::from_secs(10);

/// The present connection to a server, shared by all calls of a process.
pub(super) struct Link {
    dialer: Arc<Dialer>,
    /// The node of a cluster; `None`: the server of the URL or of the Sentinels.
    pub(super) node: Option<Address>,
    current: RwLock<NumberedConnection>,
    reconnect: Mutex<Reconnect>,
}

/// A connection that is made when first needed, with its number among those to the server.
#[derive(Clone)]
struct NumberedConnection {
    number: u64,
    connection: Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>,
}

/// When a new connection may be made.
struct Reconnect {
    not_before: Option<Instant>,
    backoff: Backoff,
}

impl Link {
    /// Prepares the connection, which is made by the first call.
    pub(super) fn new(dialer: Arc<Dialer>, node: Option<Address>) -> Self {
        let current = RwLock::new(NumberedConnection::new(0, &dialer, node.as_ref()));
        let backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(2));
        Self { dialer, node, current, reconnect: Mutex::new(Reconnect { not_before: None, backoff }) }
    }

    /// The number of the present connection.
    pub(super) fn number(&self) -> u64 {
        self.current.read().unwrap_or_else(PoisonError::into_inner).number
    }

    /// Host and port of a node; empty for the server of the URL or of the Sentinels.
    pub(super) fn name(&self) -> String {
        self.node.as_ref().map(Address::to_string).unwrap_or_default()
    }

    /// Sends a call, with `is_asking` as one that the redirection ASK has sent here. An answer of the wrong server and a broken
    /// connection replace the connection.
    pub(super) async fn send(&self, call: &Call<'_>, is_asking: bool) -> Result<Value, StockError> {
        let used = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut connection = match used.connection.clone().await {
            Ok(connection) => connection,
            Err(error) => {
                // A refused connection costs nobody anything; a failed login or handshake does.
                let is_cheap = error.is_connection_refusal() && !self.dialer.has_successors();
                let error = StockError::NotConnected(error);
                self.replace(&used, &error, is_cheap);
                return Err(error);
            }
        };
        let answer =
            if is_asking { call.send(&mut Asking(connection)).await } else { call.send(&mut connection).await };
        answer.map_err(|error| self.judge(&used, error))
    }

    fn judge(&self, used: &NumberedConnection, error: RedisError) -> StockError {
        let is_broken = StockError::is_no_answer(&error) && !error.is_timeout();
        // A server that hangs keeps its connections; where another one may have taken over, that is asked for.
        let is_wrong =
            StockError::says_that_the_server_is_wrong(&error) || error.is_timeout() && self.dialer.has_successors();
        // A redirection is about a slot, and the server is right about others; one of no cluster is at its word.
        let is_redirected = self.node.is_some() && is_redirection(&error);
        let error = StockError::from(error);
        if is_broken || is_wrong && !is_redirected {
            self.replace(used, &error, is_broken);
        }
        error
    }

    /// Replaces a connection, so that the next call connects anew: at once, or once in each wait of the back-off, however
    /// many calls fail. Until then they get the same answer.
    fn replace(&self, used: &NumberedConnection, why: &StockError, at_once: bool) {
        let mut reconnect = self.reconnect.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_early = reconnect.not_before.is_some_and(|earliest| now < earliest);
        if used.number != self.number() || is_early && !at_once {
            return;
        }
        if !at_once {
            if reconnect.not_before.is_some_and(|earliest| now.duration_since(earliest) > BACKOFF_RESET_AFTER) {
                reconnect.backoff.reset();
            }
            reconnect.not_before = Some(now + reconnect.backoff.next_wait());
        }
        let number = used.number + 1;
        tracing::debug!(error = %crate::runtime::chain(why), number, "the connection to redis is dropped, and redis dialled again");
        let next = NumberedConnection::new(number, &self.dialer, self.node.as_ref());
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

/// Whether an answer says that a slot is elsewhere, or on its way.
fn is_redirection(error: &RedisError) -> bool {
    matches!(error.code(), Some("MOVED" | "ASK" | "TRYAGAIN"))
}

impl NumberedConnection {
    fn new(number: u64, dialer: &Arc<Dialer>, node: Option<&Address>) -> Self {
        let (dialer, node) = (Arc::clone(dialer), node.cloned());
        let connection = async move { dialer.dial(node.as_ref()).await }.boxed().shared();
        Self { number, connection }
    }
}
