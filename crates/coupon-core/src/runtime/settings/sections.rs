//! The sections every binary has: `[log]`, `[admin]` and `[shutdown]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::{SettingsError, within};
use crate::words::words;

/// `[log]`: what is logged to standard error, and how.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct LogSettings {
    /// Which lines: a level (`info`) or directives (`info,issuer_api=debug`), as
    /// `tracing_subscriber::EnvFilter` reads them.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl LogSettings {
    /// Refuses a filter that cannot be parsed.
    pub fn check(&self) -> Result<(), SettingsError> {
        let allowed = "a level (error, warn, info, debug, trace) or directives such as `info,issuer_api=debug`";
        match EnvFilter::try_new(&self.filter) {
            Ok(_) => Ok(()),
            Err(_) => Err(SettingsError::invalid("log.filter", &self.filter, allowed)),
        }
    }
}

words! {
    /// How a log line looks.
    #[derive(Deserialize)]
    #[serde(try_from = "String")]
    pub enum LogFormat as "log format" {
        /// Text on a terminal, JSON everywhere else.
        Auto = "auto",
        /// For people: one line, coloured on a terminal.
        Text = "text",
        /// For programs: one JSON object a line.
        Json = "json",
    }
}

/// `[admin]`: the listener for probes and metrics.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct AdminSettings {
    /// Address of `/livez`, `/readyz` and `/metrics`; it has no authentication, so it belongs on a
    /// network that members do not reach. Port 0 takes any free one.
    pub listen: SocketAddr,
}

/// `[shutdown]`: how long a stop may take.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct ShutdownSettings {
    /// Milliseconds that work in flight gets to end after the first signal.
    pub drain_ms: u64,
}

impl ShutdownSettings {
    /// Time that work in flight gets to end after the first signal.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// Refuses more than ten minutes: an orchestrator kills long before.
    pub fn check(&self) -> Result<(), SettingsError> {
        within("shutdown.drain_ms", self.drain_ms, 0..=600_000, "ms")
    }
}
