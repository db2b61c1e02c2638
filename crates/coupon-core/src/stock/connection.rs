//! The connection to Redis, bounded in time.

use std::{sync::Arc, time::Duration};

use redis::{
    Client, Cmd, FromRedisValue, IntoConnectionInfo, Pipeline, ScriptInvocation, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};
use serde::{Deserialize, Serialize};

use super::{Seen, StockError};
use crate::{
    crash,
    runtime::{SecretUrl, SettingsError},
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

/// The stock of all coupons, behind one multiplexed connection that mends itself.
#[derive(Clone)]
pub struct Stock {
    connection: ConnectionManager,
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
        for (key, value) in [
            ("redis.response_timeout_ms", self.response_timeout_ms),
            ("redis.connect_timeout_ms", self.connect_timeout_ms),
        ] {
            if !(10..=60_000).contains(&value) {
                return Err(SettingsError::invalid(key, value, "10 to 60000 ms"));
            }
        }
        Ok(())
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
        let connection = ConnectionManager::new_lazy_with_config(client, config)?;
        Ok(Self { connection, bound: response + connect, seen: Arc::default() })
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), StockError> {
        self.query::<String>(&redis::cmd("PING")).await.map(|_| ())
    }

    /// Invokes a script; `effect` names what it does, see [`crash`].
    pub(super) async fn invoke(&self, effect: &'static str, call: &ScriptInvocation<'_>) -> Result<Value, StockError> {
        let mut connection = self.connection.clone();
        crash::around(effect, self.bounded(call.invoke_async(&mut connection))).await
    }

    /// Invokes a script that changes nothing.
    pub(super) async fn ask(&self, call: &ScriptInvocation<'_>) -> Result<Value, StockError> {
        let mut connection = self.connection.clone();
        self.bounded(call.invoke_async(&mut connection)).await
    }

    /// Invokes a script that a repeat does not harm: without an answer it asks once more. Both tries share the bound,
    /// so that somebody who waits for the answer does not wait twice as long.
    pub(super) async fn invoke_repeatable(
        &self,
        effect: &'static str,
        call: &ScriptInvocation<'_>,
    ) -> Result<Value, StockError> {
        let mut connection = self.connection.clone();
        let ask = async {
            match call.invoke_async(&mut connection).await.map_err(StockError::from) {
                Err(StockError::NoAnswer(_)) => Ok(call.invoke_async(&mut connection).await?),
                other => other,
            }
        };
        crash::around(effect, self.bounded(ask)).await
    }

    /// Runs a command that changes something; `effect` names what it does, see [`crash`].
    pub(super) async fn change(&self, effect: &'static str, command: &Cmd) -> Result<(), StockError> {
        crash::around(effect, self.query::<i64>(command)).await.map(|_| ())
    }

    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StockError> {
        let mut connection = self.connection.clone();
        self.bounded(command.query_async(&mut connection)).await
    }

    pub(super) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StockError> {
        let mut connection = self.connection.clone();
        self.bounded(pipeline.query_async(&mut connection)).await
    }

    /// The manager bounds a response and a connection, but not a call that waits for one and then the other.
    async fn bounded<T, E: Into<StockError>>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, StockError> {
        match tokio::time::timeout(self.bound, call).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(StockError::TimedOut(u64::try_from(self.bound.as_millis()).unwrap_or(u64::MAX))),
        }
    }
}
