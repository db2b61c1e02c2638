//! What can be wrong with a setting, each in one sentence.

use std::error::Error;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::secret::{MASK, sounds_secret};
use crate::runtime::text::Escaped;

/// A setting that cannot be used; a binary that meets one exits with code 2.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file of `--config` cannot be read, or is no TOML.
    #[error("the configuration file {} cannot be read", Escaped(path.display()))]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system says, or the parser without the line itself: that may hold a secret.
        source: Box<dyn Error + Send + Sync>,
    },

    /// A key that no setting has.
    #[error("`{}` ({origin}) is no known setting; the command `config` lists them all", Escaped(key))]
    Unknown {
        /// The dotted key, such as `kafka.broker`.
        key: String,
        /// Where it was written.
        origin: String,
    },

    /// A value that its key does not allow.
    #[error("`{}` is {value}{}, {reason}", Escaped(key), origin.as_ref().map(|at| format!(" ({at})")).unwrap_or_default())]
    Invalid {
        /// The dotted key, such as `http.listen`.
        key: String,
        /// The value as it is shown: quoted and escaped, or `***`.
        value: String,
        /// Why not: `but must be …` or `which is refused: …`.
        reason: String,
        /// Where the value was written; filled in by [`load`](super::load).
        origin: Option<String>,
    },

    /// The built-in defaults and the settings type do not fit: a mistake of the programmer.
    #[error("the built-in defaults are wrong: {0}")]
    Defaults(String),
}

impl SettingsError {
    /// A value outside what its key allows, for [`Settings::check`](super::Settings::check).
    ///
    /// `allowed` completes the sentence "must be …": `from 1 to 1000`, `a readable file`.
    pub fn invalid(key: impl Into<String>, value: impl Display, allowed: impl Display) -> SettingsError {
        let key = key.into();
        // A URL whose form is refused may hold its password anywhere.
        let is_hidden = sounds_secret(&key) || key.split('.').next_back() == Some("url");
        let value = if is_hidden { MASK.to_owned() } else { shown(&value) };
        SettingsError::Invalid { key, value, reason: format!("but must be {}", Escaped(allowed)), origin: None }
    }
}

/// Refuses a number out of range; the `unit` says what is counted: `ms`, `records`.
pub fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    allowed: RangeInclusive<T>,
    unit: &str,
) -> Result<(), SettingsError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(SettingsError::invalid(key, value, format!("{} to {} {unit}", allowed.start(), allowed.end())))
}

/// A value as an error shows it.
pub(super) fn shown(value: &impl Display) -> String {
    let text = value.to_string();
    if text.is_empty() { "empty".to_owned() } else { format!("`{}`", Escaped(text)) }
}
