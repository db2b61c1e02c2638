//! From the merged values to the settings type, through the `config` crate, and back to a sentence
//! when that fails.

use config::{Config, ConfigError, Map, Source};
use toml::Value;

use super::error::{SettingOrigin, SettingsError, shown};
use super::kinds::plain;
use super::layers::{Entry, Schema};
use super::secret::{MASK, sounds_secret};
use super::{Escaped, Settings};

/// The merged and typed settings.
pub(super) fn typed<S: Settings>(schema: &Schema, entries: &[Entry]) -> Result<S, SettingsError> {
    deserialize(entries).map_err(|error| refused::<S>(error, schema, entries))
}

/// The values of one run as a source of the `config` crate.
#[derive(Debug, Clone)]
struct Entries(Map<String, config::Value>);

impl Source for Entries {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn deserialize<S: Settings>(entries: &[Entry]) -> Result<S, ConfigError> {
    let mut builder = Config::builder();
    for entry in entries {
        let inmost = to_config(&entry.value);
        let value = entry
            .path
            .iter()
            .skip(1)
            .rev()
            .fold(inmost, |value, step| config::Value::new(None, Map::from_iter([(step.clone(), value)])));
        let root = entry.path.first().cloned().unwrap_or_default();
        builder = builder.add_source(Entries(Map::from_iter([(root, value)])));
    }
    builder.build()?.try_deserialize()
}

fn to_config(value: &Value) -> config::Value {
    match value {
        Value::Integer(number) => config::Value::new(None, *number),
        Value::Float(number) => config::Value::new(None, *number),
        Value::Boolean(flag) => config::Value::new(None, *flag),
        Value::Array(items) => config::Value::new(None, items.iter().map(to_config).collect::<Vec<_>>()),
        Value::Table(table) => config::Value::new(
            None,
            table.iter().map(|(key, value)| (key.clone(), to_config(value))).collect::<Map<_, _>>(),
        ),
        Value::String(_) | Value::Datetime(_) => config::Value::new(None, plain(value)),
    }
}

/// Turns what the `config` crate says into our sentence; its own may show a secret.
fn refused<S: Settings>(error: ConfigError, schema: &Schema, entries: &[Entry]) -> SettingsError {
    let (key, why) = match error {
        ConfigError::At { error, key, .. } => (key, error.to_string()),
        ConfigError::Type { expected, key, .. } => (key, format!("must be {}", expected.replace("u64 bit", "64 bit"))),
        ConfigError::NotFound(key) => {
            return SettingsError::Defaults(format!("`{key}` is read, but has no default"));
        }
        other => (None, other.to_string()),
    };
    let Some(key) = key else {
        return SettingsError::Defaults(why);
    };
    let key = key.split('[').next().unwrap_or_default().to_owned();
    let value = entries.iter().rfind(|entry| entry.key == key).map_or_else(String::new, |entry| plain(&entry.value));
    let why = match why.as_str() {
        "invalid socket address syntax" => "must be an IP address and a port, such as 127.0.0.1:8080",
        _ if is_secret::<S>(&key, schema) => "must be a text of another form",
        why => why,
    };
    let reason = if why.starts_with("must be ") {
        format!("but {}", Escaped(why))
    } else {
        format!("which is refused: {}", Escaped(why))
    };
    SettingsError::Invalid { key, value: shown(&value), reason, origin: None }
}

/// Adds where the value came from, and hides it when its key is a secret.
pub(super) fn complete<S: Settings>(error: SettingsError, schema: &Schema, entries: &[Entry]) -> SettingsError {
    let SettingsError::Invalid { key, value, reason, origin } = error else {
        return error;
    };
    let origin = origin.or_else(|| entries.iter().rfind(|entry| entry.key == key).map(|entry| entry.origin.clone()));
    let value = if is_secret::<S>(&key, schema) { MASK.to_owned() } else { value };
    SettingsError::Invalid { key, value, reason, origin }
}

/// Whether a key is read into a [`Secret`] or [`SecretUrl`]: a password put there does not come
/// out again.
fn is_secret<S: Settings>(key: &str, schema: &Schema) -> bool {
    const PASSWORD: &str = "a-password-nobody-has";
    let probe = format!("probe://probe:{PASSWORD}@probe");
    let Ok(entry) = schema.text(key, &probe, SettingOrigin::Default) else {
        return sounds_secret(key);
    };
    let mut entries = schema.defaults();
    entries.push(entry);
    let printed = deserialize::<S>(&entries).ok().and_then(|settings| toml::to_string(&settings).ok());
    printed.map_or_else(|| sounds_secret(key), |text| sounds_secret(key) || !text.contains(PASSWORD))
}
