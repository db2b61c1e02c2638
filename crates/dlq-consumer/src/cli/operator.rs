//! What every verb of an operator needs: a name for the audit, a reason, a desk.

use clap::Args;
use coupon_core::runtime::{LogSettings, telemetry};

use crate::{config::Config, desk::Desk};

/// Who does it.
#[derive(Clone, Debug, Args)]
pub struct OperatorArgs {
    /// Who does this, for the audit; $USER when not given
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub by: Option<String>,
}

impl OperatorArgs {
    /// The name.
    pub fn name(&self) -> &str {
        self.by.as_deref().filter(|name| !name.is_empty()).unwrap_or("unknown")
    }
}

/// A desk for one command; what the library logs at warn and above goes to stderr.
pub fn desk(config: &Config, by: &str) -> anyhow::Result<Desk> {
    telemetry::init(&LogSettings { filter: "warn".to_owned(), ..config.log.clone() }, "dlq-consumer");
    Desk::open(config, by)
}

/// Tests a reason: somebody will want to read it.
pub fn reason(text: &str) -> Result<String, String> {
    let reason = text.trim();
    match reason.len() {
        0 => Err("it is empty: say why, for whoever looks later".to_owned()),
        1..=2000 => Ok(reason.to_owned()),
        bytes => Err(format!("it has {bytes} bytes, at most 2000 are kept")),
    }
}
