//! The connection to Redis, bounded in time.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, Cmd, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError, ScriptInvocation, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use serde::{Deserialize, Serialize};

use super::{Seen, StockError, keys, shared_connection::SharedConnection};
use crate::{
    crash,
    runtime::{SecretUrl, SettingsError, within},
};

/// A script of `lua/`, compiled into the binary and known to Redis by its hash.
macro_rules! script {
    ($name:ident, $file:literal) => {
        static $name: std::sync::LazyLock<redis::Script> =
            std::sync::LazyLock::new(|| redis::Script::new(include_str!(concat!("../../lua/", $file))));
    };
}
pub(super) use script;

/// The `[redis]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RedisSettings {
    /// Where Redis is: `redis://[user:password@]host:port/db`.
    pub url: SecretUrl,
    /// How long an answer is waited for, in ms. After that the outcome of the call is unknown.
    pub response_timeout_ms: u64,
    /// How long a connection may take to be made, in ms.
    pub connect_timeout_ms: u64,
}

script!(PROBE, "probe.lua");

/// The stock of all coupons, behind one multiplexed connection that reconnects by itself.
#[derive(Clone)]
pub struct Stock {
    connection: Arc<SharedConnection>,
    bound: Duration,
    /// The highest sequences this process has seen.
    pub seen: Arc<Seen>,
}

impl RedisSettings {
    /// Tests what the types cannot: the form of the URL and the bounds of the times.
    pub fn check(&self) -> Result<(), SettingsError> {
        if Client::open(self.url.expose()).is_err() {
            let allowed = "a URL of the form redis://[user:password@]host:port/db";
            return Err(SettingsError::invalid("redis.url", &self.url, allowed));
        }
        within("redis.response_timeout_ms", self.response_timeout_ms, 10..=60_000, "ms")?;
        within("redis.connect_timeout_ms", self.connect_timeout_ms, 10..=60_000, "ms")
    }
}

impl Stock {
    /// Prepares the connection; it is made when first needed and made again whenever it breaks.
    pub fn new(settings: &RedisSettings) -> Result<Self, StockError> {
        let response = Duration::from_millis(settings.response_timeout_ms);
        let connect = Duration::from_millis(settings.connect_timeout_ms);
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(response))
            .set_connection_timeout(Some(connect))
            // Callers wait for the reconnection in progress, so it must fail fast; the next call begins a new one.
            .set_number_of_retries(1)
            .set_min_delay(Duration::from_millis(50))
            .set_max_delay(Duration::from_millis(200));
        // A server that vanished without a word must not hold the connection for the quarter of an hour that the
        // kernel goes on sending.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(response + connect);
        let info = settings.url.expose().into_connection_info()?.set_tcp_settings(tcp);
        let client = Client::open(info)?;
        let connection = Arc::new(SharedConnection::new(client, config)?);
        Ok(Self { connection, bound: response + connect, seen: Arc::default() })
    }

    /// Whether Redis takes what the service writes. A replica, a full memory and a user without rights all answer a PING.
    pub async fn probe(&self) -> Result<(), StockError> {
        let mut call = PROBE.key(keys::PROBE[0]);
        self.ask(call.key(keys::PROBE[1])).await.map(drop)
    }

    /// Invokes a script; `effect` names what it does, see [`crash`].
    pub(super) async fn invoke(&self, effect: &'static str, call: &ScriptInvocation<'_>) -> Result<Value, StockError> {
        crash::around(effect, self.ask(call)).await
    }

    /// Invokes a script that changes nothing.
    pub(super) async fn ask(&self, call: &ScriptInvocation<'_>) -> Result<Value, StockError> {
        self.bounded(async |mut connection| call.invoke_async(&mut connection).await).await
    }

    /// Invokes a script that a repeat does not harm: without an answer it asks once more. Both tries share the bound,
    /// so that the caller does not wait twice as long.
    pub(super) async fn invoke_repeatable(
        &self,
        effect: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<Value, StockError> {
        let ask = self.bounded(async |mut connection| match call.invoke_async(&mut connection).await {
            Err(error) if StockError::is_no_answer(&error) => call.invoke_async(&mut connection).await,
            other => other,
        });
        crash::around(effect, ask).await
    }

    /// Runs a command that changes something; `effect` names what it does, see [`crash`].
    pub(super) async fn change(&self, effect: &'static str, command: &Cmd) -> Result<(), StockError> {
        crash::around(effect, self.query::<i64>(command)).await.map(|_| ())
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StockError> {
        self.bounded(async |mut connection| command.query_async(&mut connection).await).await
    }

    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StockError> {
        self.bounded(async |mut connection| pipeline.query_async(&mut connection).await).await
    }

    /// Bounds a call: the manager bounds a response and a connection, but not a call that waits for one and then the other. An
    /// answer of the wrong server replaces the connection.
    async fn bounded<T>(
        &self,
        call: impl AsyncFnOnce(ConnectionManager) -> Result<T, RedisError>,
    ) -> Result<T, StockError> {
        let current = self.connection.current();
        match tokio::time::timeout(self.bound, call(current.connection.clone())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let is_wrong = StockError::says_that_the_server_is_wrong(&error);
                let error = StockError::from(error);
                if is_wrong {
                    self.connection.replace(&current, &error);
                }
                Err(error)
            }
            Err(_) => Err(StockError::TimedOut(u64::try_from(self.bound.as_millis()).unwrap_or(u64::MAX))),
        }
    }
}
