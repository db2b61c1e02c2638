//! The type of a setting is the TOML type of its default.

use toml::Value;

/// A value as an error shows it: a text without its quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a value from a file has the type of the default.
pub(super) fn alike(value: &Value, default: &Value) -> bool {
    match (value, default) {
        (Value::Integer(_), Value::Float(_)) => true,
        (Value::Array(values), Value::Array(defaults)) => {
            let text = Value::String(String::new());
            let sample = defaults.first().unwrap_or(&text);
            values.iter().all(|value| alike(value, sample))
        }
        (value, default) => value.same_type(default),
    }
}

/// A value given as text, with the type of the default; `None` if it cannot be read as such.
pub(super) fn from_text(value: &Value, default: &Value) -> Option<Value> {
    let text = value.as_str()?;
    match default {
        Value::String(_) => Some(value.clone()),
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Array(defaults) => {
            let sample = Value::String(String::new());
            let sample = defaults.first().unwrap_or(&sample);
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            items
                .map(|item| from_text(&Value::String(item.to_owned()), sample))
                .collect::<Option<_>>()
                .map(Value::Array)
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// The type of a default in words that complete "must be …".
pub(super) fn wanted(default: &Value) -> &'static str {
    match default {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list (in the environment and in --set: comma separated)",
        Value::Datetime(_) => "a date",
        Value::Table(_) => "a section",
    }
}
