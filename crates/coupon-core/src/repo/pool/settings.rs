//! The `[database]` section.

use std::fs;

use serde::{Deserialize, Serialize};

use super::address::hosts_of;
use crate::runtime::{SecretUrl, SettingsError, within};

/// The `[database]` section.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DatabaseSettings {
    /// Address of PostgreSQL: `postgres://user:password@host:port/database`, with several hosts as `a:5432,b:5432`.
    pub url: SecretUrl,
    /// File with that address, read again at each connection; takes the place of `url` when not empty.
    pub url_file: String,
    /// File with the password, read again at each connection; takes the place of that in the address.
    pub password_file: String,
    /// Command whose output is the password, for tokens that expire; run again at a connection, at most every 30 s.
    pub password_command: Vec<String>,
    /// File with the root certificates that sign the server's; empty: the public ones.
    pub ca_file: String,
    /// File with the client's certificate; needs `client_key_file`.
    pub client_cert_file: String,
    /// File with the key of the client's certificate.
    pub client_key_file: String,
    /// Whether the address leads to a pooler in transaction mode: sessions then ask for no options at their start.
    pub pooled: bool,
    /// Connections that all processes of the installation may open, as compared with the server's; 0: those of this one.
    pub budget: u32,
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
    /// Tests what the types cannot: the form of the URL, the files, and the bounds of the numbers.
    pub fn check(&self) -> Result<(), SettingsError> {
        for (key, path) in self.files() {
            fs::read(path).map_err(|error| {
                SettingsError::invalid(key, path, format!("a file that can be read; it cannot: {error}"))
            })?;
        }
        let is_certified = self.is_certified();
        if self.url_file.is_empty() {
            hosts_of(self.url.expose(), is_certified)
                .map_err(|allowed| SettingsError::invalid("database.url", &self.url, allowed))?;
        } else if let Ok(url) = fs::read_to_string(&self.url_file) {
            hosts_of(url.trim(), is_certified).map_err(|allowed| {
                SettingsError::invalid("database.url_file", &self.url_file, format!("a file with {allowed}"))
            })?;
        }
        if self.client_cert_file.is_empty() != self.client_key_file.is_empty() {
            let allowed = "set together with database.client_key_file, or both empty";
            return Err(SettingsError::invalid("database.client_cert_file", &self.client_cert_file, allowed));
        }
        if !self.password_file.is_empty() && !self.password_command.is_empty() {
            let allowed = "empty where database.password_command is set: one of them gives the password";
            return Err(SettingsError::invalid("database.password_file", &self.password_file, allowed));
        }
        within("database.budget", self.budget, 0..=100_000, "connections")?;
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

    /// Whether certificates are set, which then have to be used.
    pub(super) fn is_certified(&self) -> bool {
        !self.ca_file.is_empty() || !self.client_cert_file.is_empty()
    }

    /// The files that are set, each with its key.
    fn files(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let files = [
            ("database.url_file", &self.url_file),
            ("database.password_file", &self.password_file),
            ("database.ca_file", &self.ca_file),
            ("database.client_cert_file", &self.client_cert_file),
            ("database.client_key_file", &self.client_key_file),
        ];
        files.into_iter().filter(|(_, path)| !path.is_empty()).map(|(key, path)| (key, path.as_str()))
    }
}
