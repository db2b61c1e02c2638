//! What can be wrong with a setting, each in one sentence.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;

use crate::runtime::text::Escaped;

/// A setting that cannot be used; a binary that meets one exits with code 2.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file of `--config` cannot be read.
    #[error("the configuration file {} cannot be read", Escaped(path.display()))]
    Unreadable {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },

    /// The file of `--config` is not TOML. The line itself is not shown: it may hold a secret.
    #[error("line {line} of {} is not valid TOML: {}", Escaped(path.display()), Escaped(what))]
    Syntax {
        /// The file as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says.
        what: String,
    },

    /// A key that no setting has.
    #[error("{}{}", place(origin, key), advice(nearest.as_ref()))]
    Unknown {
        /// The key as it was written: `kafka.broker`, or the name of the environment variable.
        key: String,
        /// Where it was written.
        origin: SettingOrigin,
        /// The most similar known name, in the same form.
        nearest: Option<String>,
    },

    /// A value that its key does not allow.
    #[error("`{}` is {value}{}, {reason}", Escaped(key), source_of(origin.as_ref()))]
    Invalid {
        /// The key, such as `http.listen`.
        key: String,
        /// The value as it is shown: quoted and escaped, or `***`.
        value: String,
        /// Why not: `but must be …` or `which is refused: …`.
        reason: String,
        /// Where the value came from; filled in by [`load`](super::load).
        origin: Option<SettingOrigin>,
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
        SettingsError::Invalid {
            key: key.into(),
            value: shown(&value),
            reason: format!("but must be {}", Escaped(allowed)),
            origin: None,
        }
    }
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// The defaults built into the binary.
    Default,
    /// The file of `--config`.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
    /// The flag `--set`.
    Flag,
}

impl Display for SettingOrigin {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            SettingOrigin::Default => formatter.write_str("the default"),
            SettingOrigin::File(path) => write!(formatter, "in {}", Escaped(path.display())),
            SettingOrigin::Variable(name) => write!(formatter, "environment variable {}", Escaped(name)),
            SettingOrigin::Flag => formatter.write_str("given by --set"),
        }
    }
}

/// A value as an error shows it.
pub(super) fn shown(value: &impl Display) -> String {
    let text = value.to_string();
    if text.is_empty() { "empty".to_owned() } else { format!("`{}`", Escaped(text)) }
}

fn place(origin: &SettingOrigin, key: &str) -> String {
    match origin {
        SettingOrigin::Variable(name) => {
            format!("the environment variable `{}` sets no known setting", Escaped(name))
        }
        _ => format!("`{}`, {origin}, is no known setting", Escaped(key)),
    }
}

fn advice(nearest: Option<&String>) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None => "; the command `config` lists them all".to_owned(),
    }
}

fn source_of(origin: Option<&SettingOrigin>) -> String {
    origin.map_or_else(String::new, |origin| format!(" ({origin})"))
}
