//! The `[database]` section.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;

use crate::runtime::{SecretUrl, SettingsError, within};

/// The `[database]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseSettings {
    /// Address of PostgreSQL: `postgres://user:password@host:port/database`.
    pub url: SecretUrl,
    /// Most connections of this process.
    pub max_connections: u32,
    /// Longest wait for a free connection, in ms; after it the database counts as unavailable.
    pub acquire_timeout_ms: u64,
    /// Longest statement, in ms (`statement_timeout`).
    pub statement_timeout_ms: u64,
    /// Longest wait for a row lock, in ms (`lock_timeout`).
    pub lock_timeout_ms: u64,
    /// Lifetime of a connection, in ms.
    pub max_lifetime_ms: u64,
}

impl DatabaseSettings {
    /// Tests what the types cannot: the form of the URL and the bounds of the numbers.
    pub fn check(&self) -> Result<(), SettingsError> {
        if PgConnectOptions::from_str(self.url.expose()).is_err() {
            let allowed = "a URL of the form postgres://user:password@host:port/database";
            return Err(SettingsError::invalid("database.url", &self.url, allowed));
        }
        within("database.max_connections", self.max_connections, 1..=500, "connections")?;
        for (key, value) in [
            ("database.acquire_timeout_ms", self.acquire_timeout_ms),
            ("database.statement_timeout_ms", self.statement_timeout_ms),
            ("database.lock_timeout_ms", self.lock_timeout_ms),
        ] {
            within(key, value, 50..=600_000, "ms")?;
        }
        within("database.max_lifetime_ms", self.max_lifetime_ms, 1000..=86_400_000, "ms")
    }
}
