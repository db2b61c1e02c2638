//! What the service that serves the console lends to it, which only that service knows.

use coupon_core::{kafka::BreakerState, runtime::doctor::Finding};
use futures_util::future::BoxFuture;
use serde::Serialize;

/// The service that serves the console.
pub trait Host: Send + Sync + 'static {
    /// Returns the names of the alarm channels that are set, the first one first; or what is wrong with their settings.
    fn channels(&self) -> Result<Vec<&'static str>, String>;

    /// Sends a test alarm in the name of `by` to each channel; or says why there is none.
    fn test_alarms(&self, by: String) -> BoxFuture<'static, Result<Vec<ChannelAnswer>, String>>;

    /// Checks the servers and the settings, in 2 s at most.
    fn doctor(&self) -> BoxFuture<'_, Vec<Finding>>;

    /// Returns the circuit breakers of this process; none before it consumes.
    fn breakers(&self) -> Vec<BreakerState>;

    /// Returns the effective settings as TOML, with secrets as `***`.
    fn settings(&self) -> String;
}

/// What an alarm channel made of a test alarm.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelAnswer {
    /// Name of the channel.
    pub channel: &'static str,
    /// Whether it took the alarm.
    pub took_it: bool,
    /// The same in words.
    pub text: String,
}
