//! The layers a setting can come from, each read against the keys and types of the defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use toml::{Table, Value};

use super::error::{SettingOrigin, SettingsError, shown};
use super::kinds::{alike, from_text, plain, wanted};
use super::secret::{MASK, sounds_secret};

/// The known keys, read off the defaults: every key must appear there, and the TOML type of its
/// default is its type. An empty table, such as `[kafka.properties]`, takes any key below it.
#[derive(Debug)]
pub(super) struct Schema {
    leaves: BTreeMap<String, Value>,
    open: BTreeSet<String>,
}

/// One value of one layer.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The dotted key.
    pub key: String,
    /// The steps down to the value; below an open table the rest of the key is one step.
    pub path: Vec<String>,
    pub value: Value,
    pub origin: SettingOrigin,
}

impl Schema {
    pub fn new(defaults: &str) -> Result<Schema, SettingsError> {
        let table: Table =
            toml::from_str(defaults).map_err(|error| SettingsError::Defaults(error.message().to_owned()))?;
        let (mut leaves, mut open) = (BTreeMap::new(), BTreeSet::new());
        for (key, value) in flatten(&table, "") {
            match value {
                Value::Table(_) => drop(open.insert(key)),
                value => drop(leaves.insert(key, value)),
            }
        }
        Ok(Schema { leaves, open })
    }

    /// The defaults themselves, as the lowest layer.
    pub fn defaults(&self) -> Vec<Entry> {
        let entry = |key: &String, value: Value| Entry {
            key: key.clone(),
            path: key.split('.').map(str::to_owned).collect(),
            value,
            origin: SettingOrigin::Default,
        };
        let open = self.open.iter().map(|key| entry(key, Value::Table(Table::new())));
        self.leaves.iter().map(|(key, value)| entry(key, value.clone())).chain(open).collect()
    }

    /// Whether a key is a setting of its own (not one below an open table).
    pub fn has(&self, key: &str) -> bool {
        self.leaves.contains_key(key) || self.open.contains(key)
    }

    /// The values of a TOML file.
    pub fn file(&self, path: &Path) -> Result<Vec<Entry>, SettingsError> {
        let text =
            fs::read_to_string(path).map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
        let table: Table = toml::from_str(&text).map_err(|error| SettingsError::Syntax {
            path: path.to_owned(),
            line: text[..error.span().map_or(0, |span| span.start)].lines().count().max(1),
            what: error.message().to_owned(),
        })?;
        flatten(&table, "")
            .into_iter()
            .filter(|(key, value)| !(value.is_table() && self.is_section(key)))
            .map(|(key, value)| self.entry(key, &value, SettingOrigin::File(path.to_owned()), false))
            .collect()
    }

    /// A value given as text, by the environment or by `--set`: a list is comma separated, and a
    /// text stays a text even if it looks like a number.
    pub fn text(&self, key: &str, text: &str, origin: SettingOrigin) -> Result<Entry, SettingsError> {
        self.entry(key.to_owned(), &Value::String(text.to_owned()), origin, true)
    }

    fn entry(&self, key: String, value: &Value, origin: SettingOrigin, is_text: bool) -> Result<Entry, SettingsError> {
        let Some((path, default)) = self.locate(&key) else {
            let nearest = self.nearest(&key);
            return Err(SettingsError::Unknown { key, origin, nearest });
        };
        let converted = match default {
            Some(default) if is_text => from_text(value, default),
            Some(default) => alike(value, default).then(|| value.clone()),
            None => (!value.is_array() && !value.is_table() && !value.is_datetime()).then(|| value.clone()),
        };
        match converted {
            Some(value) => Ok(Entry { key, path, value, origin }),
            None => Err(SettingsError::Invalid {
                value: if sounds_secret(&key) { MASK.to_owned() } else { shown(&plain(value)) },
                reason: format!("but must be {}", default.map_or("a text, a number or a boolean", wanted)),
                key,
                origin: Some(origin),
            }),
        }
    }

    /// The steps to a key and its default; `None` as the default of a key below an open table.
    fn locate(&self, key: &str) -> Option<(Vec<String>, Option<&Value>)> {
        if let Some(default) = self.leaves.get(key) {
            return Some((key.split('.').map(str::to_owned).collect(), Some(default)));
        }
        self.open.iter().find_map(|table| {
            let rest = key.strip_prefix(table.as_str())?.strip_prefix('.')?;
            let steps = table.split('.').chain([rest]).map(str::to_owned).collect();
            (!rest.is_empty()).then_some((steps, None))
        })
    }

    fn is_section(&self, key: &str) -> bool {
        let below = format!("{key}.");
        self.open.contains(key) || self.leaves.keys().chain(&self.open).any(|known| known.starts_with(&below))
    }

    /// The most similar known key, if one is similar at all: same last step, or few letters apart.
    fn nearest(&self, key: &str) -> Option<String> {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
        self.leaves
            .keys()
            .chain(&self.open)
            .map(|known| {
                let same_step = if last(known) == last(key) { 0.75 } else { 0.0 };
                (strsim::normalized_damerau_levenshtein(known, &key.to_lowercase()).max(same_step), known)
            })
            .filter(|(likeness, _)| *likeness >= 0.6)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known.clone())
    }
}

/// All values of a table with their dotted keys; a table without entries stands for itself.
pub(super) fn flatten(table: &Table, prefix: &str) -> Vec<(String, Value)> {
    let mut flat = Vec::new();
    for (key, value) in table {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => flat.extend(flatten(inner, &key)),
            value => flat.push((key, value.clone())),
        }
    }
    flat
}
