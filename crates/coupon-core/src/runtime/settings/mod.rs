//! Settings in layers: defaults, file, environment, flags; unknown keys refused at every one.

mod error;
mod layers;
mod secret;
mod sections;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

pub use self::error::{SettingsError, within};
use self::layers::Layers;
pub use self::secret::{Properties, Secret, SecretUrl};
pub use self::sections::{AdminSettings, LogFormat, LogSettings, ShutdownSettings};
use super::text::Escaped;

/// The settings of one binary.
pub trait Settings: DeserializeOwned + Serialize {
    /// What its environment variables begin with: `ISSUER_API`.
    const PREFIX: &'static str;
    /// Its `config.default.toml`. Every key appears here; the TOML type of a default is the type
    /// of the setting (so a fraction is allowed only where the default has one, `1.0`), a list is
    /// one of texts, and an empty table accepts any key below it.
    const DEFAULTS: &'static str;
    /// Environment variables that several programs share, and the key each stands for:
    /// `("DATABASE_URL", "database.url")`.
    const ALIASES: &'static [(&'static str, &'static str)];

    /// Refuses values out of range, with [`SettingsError::invalid`].
    fn check(&self) -> Result<(), SettingsError>;
}

/// Where the settings of this run come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsArgs {
    /// TOML file with settings; they override the built-in defaults
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// One setting, such as log.filter=debug; overrides file and environment, may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value, global = true)]
    pub set: Vec<(String, String)>,
}

/// Merges and checks the settings; each layer overrides those before it:
///
/// 1. [`Settings::DEFAULTS`]
/// 2. the file of `--config`, or else of the variable `<PREFIX>_CONFIG`, if not empty
/// 3. [`Settings::ALIASES`] such as `DATABASE_URL`
/// 4. variables `<PREFIX>__SECTION__KEY`, all in upper case; one that is set but empty sets the
///    empty text or list
/// 5. `--set key=value`
///
/// Fails with one sentence that names the key, where it came from and what is allowed.
pub fn load<S: Settings>(
    args: &SettingsArgs,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<S, SettingsError> {
    let mut layers = merged::<S>(args, &environment.into_iter().collect())?;
    let settings = layers.typed::<S>();
    settings.and_then(|settings| settings.check().map(|()| settings)).map_err(|error| layers.locate(error))
}

/// The environment of this process; a variable that is no UTF-8 is read lossily, so that it meets
/// the check of its key instead of being overlooked.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

/// The settings in force as TOML, secrets as `***`.
pub fn print_effective<S: Settings>(settings: &S) -> String {
    toml::to_string_pretty(settings).unwrap_or_else(|error| format!("# the settings cannot be shown: {error}\n"))
}

/// Proves, in a binary's test, that its defaults and its settings type hold the same keys and that
/// the defaults pass their own check.
pub fn check_defaults<S: Settings>() -> Result<(), SettingsError> {
    let settings: S = load(&SettingsArgs::default(), [])?;
    let read = Value::try_from(&settings).map_err(|error| SettingsError::Defaults(error.to_string()))?;
    let is_unread = |key: &String| key.split('.').try_fold(&read, |value, step| value.get(step)).is_none();
    match Layers::new(S::DEFAULTS)?.into_keys().find(is_unread) {
        Some(key) => Err(SettingsError::Defaults(format!("`{key}` has a default, but nothing reads it"))),
        None => Ok(()),
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value, such as log.filter=debug".to_owned()),
    }
}

/// All layers, the lowest first.
fn merged<S: Settings>(args: &SettingsArgs, environment: &BTreeMap<String, String>) -> Result<Layers, SettingsError> {
    let mut layers = Layers::new(S::DEFAULTS)?;
    let named = environment.get(&format!("{}_CONFIG", S::PREFIX)).filter(|path| !path.is_empty());
    if let Some(path) = args.config.clone().or_else(|| named.map(PathBuf::from)) {
        layers.add_file(&path)?;
    }
    for (name, key) in S::ALIASES {
        if let Some(text) = environment.get(*name) {
            layers.add_text(key, text, format!("environment variable {name}"))?;
        }
    }
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(S::PREFIX).and_then(|rest| rest.strip_prefix("__")) else {
            continue;
        };
        // Upper case only: of two spellings of one key, chance would decide which one wins.
        if rest.contains(char::is_lowercase) {
            let origin = "environment variable that is not in upper case".to_owned();
            return Err(SettingsError::Unknown { key: name.clone(), origin });
        }
        let key = rest.replace("__", ".").to_lowercase();
        layers.add_text(&key, text, format!("environment variable {}", Escaped(name)))?;
    }
    for (key, text) in &args.set {
        layers.add_text(key, text, "given by --set".to_owned())?;
    }
    Ok(layers)
}
