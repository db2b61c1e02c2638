//! The sections every binary has: `[log]`, `[admin]` and `[shutdown]`.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use super::SettingsError;

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
    /// Refuses a filter that cannot be parsed; `section` is what the section is called.
    pub fn check(&self, section: &str) -> Result<(), SettingsError> {
        match EnvFilter::try_new(&self.filter) {
            Ok(_) => Ok(()),
            Err(_) => Err(SettingsError::invalid(
                format!("{section}.filter"),
                &self.filter,
                "a level (error, warn, info, debug, trace) or directives such as `info,issuer_api=debug`",
            )),
        }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum LogFormat {
    /// Text on a terminal, JSON everywhere else.
    Auto,
    /// For people: one line, coloured on a terminal.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl LogFormat {
    /// The one textual form.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<LogFormat, &'static str> {
        [LogFormat::Auto, LogFormat::Text, LogFormat::Json]
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or("must be auto, text or json")
    }
}

impl TryFrom<String> for LogFormat {
    type Error = &'static str;

    fn try_from(text: String) -> Result<LogFormat, &'static str> {
        text.parse()
    }
}

impl From<LogFormat> for &'static str {
    fn from(format: LogFormat) -> &'static str {
        format.as_str()
    }
}

impl Display for LogFormat {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
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
    /// The time work in flight gets.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// Refuses more than ten minutes: an orchestrator kills long before.
    pub fn check(&self, section: &str) -> Result<(), SettingsError> {
        if self.drain_ms <= 600_000 {
            return Ok(());
        }
        Err(SettingsError::invalid(format!("{section}.drain_ms"), self.drain_ms, "from 0 to 600000 ms"))
    }
}
