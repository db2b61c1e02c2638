//! The `[database]` section.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnectOptions;

use crate::runtime::{SecretUrl, SettingsError};

/// The `[database]` section.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseSettings {
    /// Where PostgreSQL is: `postgres://user:password@host:port/database`.
    pub url: SecretUrl,
    /// Most connections of this process.
    pub max_connections: u32,
    /// How long a free connection is waited for, in ms; longer means the database is unavailable.
    pub acquire_timeout_ms: u64,
    /// Longest statement, in ms (`statement_timeout`).
    pub statement_timeout_ms: u64,
    /// Longest wait for a row lock, in ms (`lock_timeout`).
    pub lock_timeout_ms: u64,
    /// How long a connection is used before a new one takes its place, in ms.
    pub max_lifetime_ms: u64,
}

impl DatabaseSettings {
    /// Tests what the types cannot: the form of the URL and the bounds of the numbers.
    pub fn check(&self) -> Result<(), SettingsError> {
        if PgConnectOptions::from_str(self.url.expose()).is_err() {
            let allowed = "a URL of the form postgres://user:password@host:port/database";
            return Err(SettingsError::invalid("database.url", &self.url, allowed));
        }
        if !(1..=500).contains(&self.max_connections) {
            return Err(SettingsError::invalid("database.max_connections", self.max_connections, "1 to 500"));
        }
        for (key, value) in [
            ("database.acquire_timeout_ms", self.acquire_timeout_ms),
            ("database.statement_timeout_ms", self.statement_timeout_ms),
            ("database.lock_timeout_ms", self.lock_timeout_ms),
        ] {
            if !(50..=600_000).contains(&value) {
                return Err(SettingsError::invalid(key, value, "50 to 600000 ms"));
            }
        }
        if !(1000..=86_400_000).contains(&self.max_lifetime_ms) {
            let allowed = "1000 to 86400000 ms";
            return Err(SettingsError::invalid("database.max_lifetime_ms", self.max_lifetime_ms, allowed));
        }
        Ok(())
    }
}
