//! What the command lines of operators have in common: who changes something, why, and how it is said.

use clap::Args;
use coupon_core::runtime::Usage;

/// The flag `--by` of every command that changes something.
#[derive(Clone, Debug, Args)]
pub struct ByArgs {
    /// Who decides this, for the audit; $USER when not given.
    #[arg(long, global = true, value_name = "NAME", env = "USER", hide_env_values = true)]
    pub by: Option<String>,
}

impl ByArgs {
    /// The name, or an error: every change needs one for the audit.
    pub fn name(self) -> Result<String, Usage> {
        named(self.by)
    }

    /// The name or `unknown`, for a command that changes nothing.
    pub fn name_or_unknown(self) -> String {
        self.name().unwrap_or_else(|_| "unknown".to_owned())
    }
}

/// The name that was given, or an error: every change needs one for the audit.
pub fn named(by: Option<String>) -> Result<String, Usage> {
    let name = by.filter(|name| !name.trim().is_empty());
    name.ok_or_else(|| Usage("nobody to name in the audit: say who with --by".to_owned()))
}

/// Parses the reason of a change, for clap: 1 to 2000 bytes without the white space around it.
pub fn reason(text: &str) -> Result<String, String> {
    let reason = text.trim();
    match reason.len() {
        0 => Err("it is empty: say why, for whoever looks later".to_owned()),
        1..=2000 => Ok(reason.to_owned()),
        bytes => Err(format!("it has {bytes} bytes, at most 2000 are kept")),
    }
}

/// A count with its noun: `1 entry`, `2 entries`.
pub fn counted(count: i64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{count} {noun}")
}
