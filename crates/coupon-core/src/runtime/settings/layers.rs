//! The values of all layers, each read by the kind of its default.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use config::{Config, ConfigError, File, FileFormat, Map, Source, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::error::{SettingsError, shown};
use crate::runtime::text::Escaped;

/// Every key with its value so far and where that was written: first the defaults, then whatever overrides them. A value
/// keeps the kind of its default; an empty table, such as `[kafka.properties]`, takes texts under any key below it.
#[derive(Debug)]
pub(super) struct Layers(BTreeMap<String, Value>);

impl Layers {
    /// The defaults, which are the lowest layer.
    pub fn new(defaults: &str) -> Result<Layers, SettingsError> {
        let values = parse(defaults).map_err(|error| SettingsError::Defaults(error.to_string()))?;
        let origin = "the default".to_owned();
        Ok(Layers(values.into_iter().map(|(key, kind)| (key, Value::new(Some(&origin), kind))).collect()))
    }

    /// Overrides values by those of a TOML file.
    pub fn add_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.into()))?;
        let origin = format!("in {}", Escaped(path.display()));
        for (key, given) in parse(&text).map_err(unreadable)? {
            let below = format!("{key}.");
            let is_empty_section = given == empty_table() && self.0.keys().any(|known| known.starts_with(&below));
            if !is_empty_section {
                self.put(&key, &given, origin.clone(), from_file)?;
            }
        }
        Ok(())
    }

    /// Overrides one value by a text of the environment or of `--set`.
    pub fn add_text(&mut self, key: &str, text: &str, origin: String) -> Result<(), SettingsError> {
        self.put(key, &text.into(), origin, |given, default| from_text(&given.to_string(), default))
    }

    /// The merged values as the settings type.
    pub fn typed<S: DeserializeOwned>(&mut self) -> Result<S, SettingsError> {
        self.0
            .iter()
            .try_fold(Config::builder(), |builder, (key, value)| builder.set_override(key, value.clone()))
            .and_then(|builder| builder.build()?.try_deserialize())
            .map_err(|error| self.refused(error))
    }

    /// Adds to an error where its value was written.
    pub fn locate(&mut self, mut error: SettingsError) -> SettingsError {
        if let SettingsError::Invalid { key, origin, .. } = &mut error {
            *origin = self.place(key).and_then(|value| value.origin().map(str::to_owned));
        }
        error
    }

    /// The keys of all defaults and overrides.
    pub fn into_keys(self) -> impl Iterator<Item = String> {
        self.0.into_keys()
    }

    fn put(
        &mut self,
        key: &str,
        given: &ValueKind,
        origin: String,
        converted: fn(&ValueKind, &ValueKind) -> Option<ValueKind>,
    ) -> Result<(), SettingsError> {
        let Some(value) = self.place(key) else {
            return Err(SettingsError::Unknown { key: key.to_owned(), origin });
        };
        let Some(kind) = converted(given, &value.kind) else {
            let value_shown = match given {
                // Not what is in it: where a text is wanted, that may be a secret.
                ValueKind::Array(_) => "a list".to_owned(),
                ValueKind::Table(_) => "a section".to_owned(),
                scalar => shown(scalar),
            };
            let reason = format!("but must be {}", wanted(&value.kind));
            return Err(SettingsError::Invalid {
                key: key.to_owned(),
                value: value_shown,
                reason,
                origin: Some(origin),
            });
        };
        *value = Value::new(Some(&origin), kind);
        Ok(())
    }

    /// What the settings type says against a value of the right kind. No secret is among them: each takes any text.
    fn refused(&mut self, error: ConfigError) -> SettingsError {
        let (key, reason) = match error {
            ConfigError::At { error, key: Some(key), .. } => match error.to_string().as_str() {
                "invalid socket address syntax" => {
                    (key, "but must be an IP address and a port, such as 127.0.0.1:8080".to_owned())
                }
                why => (key, format!("which is refused: {}", Escaped(why))),
            },
            ConfigError::Type { expected, key: Some(key), .. } => (key, format!("but must be {expected}")),
            other => return SettingsError::Defaults(other.to_string()),
        };
        let value = self.place(&key).map_or_else(String::new, |value| shown(&value.kind));
        SettingsError::Invalid { key, value, reason, origin: None }
    }

    /// Where the value of a key is kept; `None` if no setting has the key.
    fn place(&mut self, key: &str) -> Option<&mut Value> {
        if self.0.contains_key(key) {
            return self.0.get_mut(key);
        }
        self.0.iter_mut().find_map(|(table, value)| {
            let name = key.strip_prefix(table.as_str())?.strip_prefix('.')?;
            match &mut value.kind {
                ValueKind::Table(texts) => Some(texts.entry(name.to_owned()).or_insert_with(|| Value::new(None, ""))),
                _ => None,
            }
        })
    }
}

/// All values of a TOML text with their dotted keys; a table without entries stands for itself.
fn parse(text: &str) -> Result<BTreeMap<String, ValueKind>, Box<dyn Error + Send + Sync>> {
    let mut values = BTreeMap::new();
    match File::from_str(text, FileFormat::Toml).collect() {
        Ok(table) => flatten("", table, &mut values),
        Err(error) => {
            // Its first line says where, its last what. Between them is the line itself, which may hold a secret.
            let said = error.to_string();
            let mut lines = said.lines();
            let said: Vec<&str> = [lines.next(), lines.next_back()].into_iter().flatten().collect();
            return Err(said.join(": ").into());
        }
    }
    Ok(values)
}

fn flatten(prefix: &str, table: Map<String, Value>, values: &mut BTreeMap<String, ValueKind>) {
    for (key, value) in table {
        match value.kind {
            ValueKind::Table(inner) if !inner.is_empty() => flatten(&format!("{prefix}{key}."), inner, values),
            kind => drop(values.insert(format!("{prefix}{key}"), kind)),
        }
    }
}

fn empty_table() -> ValueKind {
    ValueKind::Table(Map::new())
}

/// A value of a file with the kind of the default, which it has to have; but a text may be written as a number.
fn from_file(given: &ValueKind, default: &ValueKind) -> Option<ValueKind> {
    match (given, default) {
        (ValueKind::String(_), ValueKind::String(_)) => Some(given.clone()),
        (ValueKind::Array(items), ValueKind::Array(_)) => {
            items.iter().all(|item| matches!(item.kind, ValueKind::String(_))).then(|| given.clone())
        }
        (ValueKind::Table(_), ValueKind::Table(_)) => Some(default.clone()),
        (ValueKind::String(_) | ValueKind::Array(_) | ValueKind::Table(_), _) | (_, ValueKind::Array(_)) => None,
        (scalar, default) => from_text(&scalar.to_string(), default),
    }
}

/// A text with the kind of the default: a text stays one even if it looks like a number, a list is comma separated.
fn from_text(text: &str, default: &ValueKind) -> Option<ValueKind> {
    match default {
        ValueKind::String(_) => Some(text.into()),
        ValueKind::I64(_) => text.parse::<i64>().ok().map(Into::into),
        ValueKind::Float(_) => text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Into::into),
        ValueKind::Boolean(_) => text.parse::<bool>().ok().map(Into::into),
        ValueKind::Array(_) => {
            Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect::<Vec<_>>().into())
        }
        _ => None,
    }
}

/// The kind of a default in words that complete "must be …".
fn wanted(default: &ValueKind) -> &'static str {
    match default {
        ValueKind::I64(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::Boolean(_) => "true or false",
        ValueKind::Array(_) => "a list (in the environment and in --set: comma separated)",
        ValueKind::Table(_) => "a section",
        _ => "a text",
    }
}
