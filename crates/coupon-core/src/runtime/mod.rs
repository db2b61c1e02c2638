//! The life of a service: settings, logs, stopping, readiness, listeners.
//!
//! The boot order is the same for the three binaries and is written down once, here:
//!
//! 1. [`load`] merges and checks the settings; a wrong one ends the process with code 2 before
//!    anything is opened.
//! 2. [`Service::start`] turns logging on ([`telemetry`]), listens for signals ([`Shutdown`], [`Reload`]) and
//!    opens the admin listener ([`admin`]), so that `/livez` answers while the rest still connects
//!    and `/readyz` says what it waits for ([`Health`]).
//!    Where the settings say so, [`Service::export_traces`] turns spans on ([`traces`]).
//! 3. The binary connects its dependencies, reports each through a [`Condition`], and works until
//!    [`Shutdown::stopping`] returns.
//!    What runs beside the work is spawned through [`Tasks`], so that none of it can end unnoticed.
//! 4. It drains, and [`Service::finish`] stops the admin listener last, so that a stop in progress
//!    can be watched.
//!
//! [`block_on`] holds it all: one tokio runtime, one line for an error, one exit code.
//!
//! This module knows no coupon, and neither Redis, SQL nor Kafka. What a dependency is
//! called and when it is ready is told to it by the binary.

pub mod admin;
mod boot;
pub mod doctor;
mod health;
pub mod http;
pub mod panics;
mod reload;
mod scrape;
mod settings;
mod shutdown;
mod tasks;
pub mod telemetry;
mod text;
mod throttle;
pub mod traces;

pub use boot::{Service, Usage, block_on};
pub use health::{Condition, ConditionReport, Health, Report};
pub use http::{BindError, HttpLimits};
pub use reload::{Reload, Reloads};
pub use scrape::{fleeting, on_scrape};
pub use settings::{
    AdminSettings, LogFormat, LogSettings, Properties, Secret, SecretUrl, Settings, SettingsArgs, SettingsError,
    ShutdownSettings, check_defaults, load, print_effective, process_environment, within,
};
pub use shutdown::Shutdown;
pub use tasks::{Task, TaskEnded, Tasks};
pub use text::{Escaped, chain, hex};
pub use throttle::Throttle;
pub use traces::{Span, TelemetrySettings, TraceParent};
