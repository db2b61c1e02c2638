//! Settings in layers: defaults, file, environment, flags; unknown keys refused at every one.

mod error;
mod kinds;
mod layers;
mod secret;
mod sections;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use self::error::{SettingOrigin, SettingsError};
use self::layers::{Entry, Schema, flatten};
use self::secret::{MASK, sounds_secret};
pub use self::secret::{Properties, Secret, SecretUrl};
pub use self::sections::{AdminSettings, LogFormat, LogSettings, ShutdownSettings};
use self::typed::{complete, typed};
use super::text::Escaped;

/// The settings of one binary.
pub trait Settings: DeserializeOwned + Serialize {
    /// What its environment variables begin with: `ISSUER_API`.
    const PREFIX: &'static str;
    /// Its `config.default.toml`. Every key appears here; the TOML type of a default is the type
    /// of the setting (so a fraction is allowed only where the default has one, `1.0`), and an
    /// empty table accepts any key below it.
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
    let schema = Schema::new(S::DEFAULTS)?;
    let environment = environment.into_iter().collect();
    let mut entries = schema.defaults();
    collect::<S>(&schema, args, &environment, &mut entries)
        .and_then(|()| typed::<S>(&schema, &entries))
        .and_then(|settings| settings.check().map(|()| settings))
        .map_err(|error| complete::<S>(error, &schema, &entries))
}

/// The environment of this process; a variable that is no UTF-8 is read lossily, so that it meets
/// the check of its key instead of being overlooked.
pub fn process_environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

/// The settings in force as TOML, secrets as `***`.
pub fn print_effective<S: Settings>(settings: &S) -> String {
    let text = Table::try_from(settings).map_err(|error| error.to_string()).and_then(|mut table| {
        mask(&mut table);
        toml::to_string_pretty(&table).map_err(|error| error.to_string())
    });
    text.unwrap_or_else(|why| format!("# the settings cannot be shown: {why}\n"))
}

/// Proves, in a binary's test, that its defaults and its settings type hold the same keys and that
/// the defaults pass their own check.
pub fn check_defaults<S: Settings>() -> Result<(), SettingsError> {
    let wrong = SettingsError::Defaults;
    let schema = Schema::new(S::DEFAULTS)?;
    let settings: S = load(&SettingsArgs::default(), [])?;
    let table = Table::try_from(&settings).map_err(|error| wrong(error.to_string()))?;
    let read: BTreeMap<String, Value> = flatten(&table, "").into_iter().collect();
    if let Some(entry) = schema.defaults().iter().find(|entry| !read.contains_key(&entry.key)) {
        return Err(wrong(format!("`{}` has a default, but nothing reads it", entry.key)));
    }
    match read.keys().find(|key| !schema.has(key)) {
        Some(key) => Err(wrong(format!("`{key}` is read, but has no default"))),
        None => Ok(()),
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected key=value, such as log.filter=debug".to_owned()),
    }
}

/// Adds the layers above the defaults, lowest first.
fn collect<S: Settings>(
    schema: &Schema,
    args: &SettingsArgs,
    environment: &BTreeMap<String, String>,
    entries: &mut Vec<Entry>,
) -> Result<(), SettingsError> {
    let named = environment.get(&format!("{}_CONFIG", S::PREFIX)).filter(|path| !path.is_empty());
    if let Some(path) = args.config.clone().or_else(|| named.map(PathBuf::from)) {
        entries.extend(schema.file(&path)?);
    }
    for (name, key) in S::ALIASES {
        if let Some(text) = environment.get(*name) {
            entries.push(schema.text(key, text, SettingOrigin::Variable((*name).to_owned()))?);
        }
    }
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(S::PREFIX).and_then(|rest| rest.strip_prefix("__")) else {
            continue;
        };
        // Upper case only: of two spellings of one key, chance would decide which one wins.
        let is_upper = !rest.chars().any(char::is_lowercase);
        let key = rest.replace("__", ".");
        let key = if is_upper { key.to_lowercase() } else { key };
        let entry = schema.text(&key, text, SettingOrigin::Variable(name.clone()));
        let entry = entry.map_err(|error| in_variable_form::<S>(error))?;
        if !is_upper {
            let nearest = Some(name.to_uppercase());
            return Err(SettingsError::Unknown { key, origin: entry.origin, nearest });
        }
        entries.push(entry);
    }
    for (key, text) in &args.set {
        entries.push(schema.text(key, text, SettingOrigin::Flag)?);
    }
    Ok(())
}

fn in_variable_form<S: Settings>(error: SettingsError) -> SettingsError {
    let variable = |key: String| format!("{}__{}", S::PREFIX, key.replace('.', "__").to_uppercase());
    match error {
        SettingsError::Unknown { key, origin, nearest } => {
            SettingsError::Unknown { key, origin, nearest: nearest.map(variable) }
        }
        other => other,
    }
}

fn mask(table: &mut Table) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => mask(inner),
            Value::String(text) if !text.is_empty() && sounds_secret(key) => MASK.clone_into(text),
            _ => {}
        }
    }
}
