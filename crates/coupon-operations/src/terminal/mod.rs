//! The kit of the command lines: the operator's name and reason, confirmation, progress, and the printing of results.

use clap::Args;
use coupon_core::{
    repo::{Database, audit::Identity, schema::Schema},
    runtime::Usage,
    startup::StartupError,
};

pub mod confirm;
pub mod output;
mod progress;

pub use output::Output;
pub use progress::Progress;

/// The flag `--by` of every command that changes something.
#[derive(Clone, Debug, Args)]
pub struct ByArgs {
    /// Who decides this, for the audit; $USER when not given.
    #[arg(long, global = true, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub by: Option<String>,
}

impl ByArgs {
    /// Returns the name, or a usage error: every change needs a name for the audit.
    pub fn name(self) -> Result<String, Usage> {
        let name = self.by.filter(|name| !name.trim().is_empty());
        name.ok_or_else(|| Usage("nobody to name in the audit: say who with --by".to_owned()))
    }

    /// Returns whom the flag names, or a usage error, as [`Self::name`].
    pub fn identity(self) -> Result<Identity, Usage> {
        self.name().map(|name| Identity::command_line(&name))
    }

    /// Returns the name or `unknown`, for a command that changes nothing.
    pub fn name_or_unknown(self) -> String {
        self.name().unwrap_or_else(|_| "unknown".to_owned())
    }
}

/// Parses the reason of a change, for clap: 1 to 2000 bytes, without white space around.
pub fn reason(text: &str) -> Result<String, String> {
    let reason = text.trim();
    match reason.len() {
        0 => Err("it is empty: say why, for whoever looks later".to_owned()),
        1..=2000 => Ok(reason.to_owned()),
        bytes => Err(format!("it has {bytes} bytes, at most 2000 are kept")),
    }
}

/// Returns a count with its noun: `1 entry`, `2 entries`.
pub fn counted(count: i64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {noun}")
}

/// Returns an error unless the schema of the database fits this build.
pub async fn require_schema(database: &Database) -> anyhow::Result<()> {
    match database.schema().await? {
        Schema::Fits { .. } => Ok(()),
        unfit => Err(StartupError::Schema(unfit).into()),
    }
}
