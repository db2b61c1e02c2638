//! Log lines of a service: JSON, one object a line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use chrono::{DateTime, Utc};
use serde_json::Value;

/// One line of a log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The line as it was written.
    pub text: String,
    json: Value,
}

impl LogLine {
    /// Reads a line; a line that is not JSON has no fields.
    pub fn parse(text: &str) -> Self {
        let json = serde_json::from_str(text).unwrap_or(Value::Null);
        Self { text: text.to_owned(), json }
    }

    /// A field, at the top level or below `fields`.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.json.get("fields").and_then(|fields| fields.get(name)).or_else(|| self.json.get(name))
    }

    /// Returns a field as text, whatever its type.
    pub fn text_of(&self, name: &str) -> Option<String> {
        match self.field(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        }
    }

    /// Returns a field as a whole number.
    pub fn number_of(&self, name: &str) -> Option<i64> {
        self.field(name)?.as_i64()
    }

    /// Returns the message.
    pub fn message(&self) -> &str {
        self.field("message").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the level: `ERROR`, `WARN`, …
    pub fn level(&self) -> &str {
        self.field("level").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns when the line was written.
    pub fn at(&self) -> Option<DateTime<Utc>> {
        let text = self.field("timestamp")?.as_str()?;
        DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
    }

    /// Whether it is about this request.
    pub fn is_about(&self, request_id: uuid::Uuid) -> bool {
        self.text_of("request_id").is_some_and(|id| id == request_id.to_string())
    }
}

/// The lines a running service has written; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<Vec<LogLine>>>);

impl Logs {
    /// Reads a pipe to its end, in a thread of its own, and writes a copy of each line to a file.
    pub fn capture(&self, pipe: impl Read + Send + 'static, mut copy: File) {
        let logs = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // The copy is for the eyes of others; the test has the line either way.
                writeln!(copy, "{line}").ok();
                logs.lock().push(LogLine::parse(&line));
            }
        });
    }

    /// Returns all lines so far.
    pub fn lines(&self) -> Vec<LogLine> {
        self.lock().clone()
    }

    /// The last lines, as text to show.
    pub fn tail(&self, count: usize) -> String {
        let lines = self.lock();
        let last = lines.iter().skip(lines.len().saturating_sub(count));
        last.fold(String::new(), |shown, line| shown + "\n  | " + &line.text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<LogLine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_on_top_and_below_fields() {
        let line = LogLine::parse(
            r#"{"timestamp":"2026-01-02T03:04:05.678Z","level":"WARN","attempt":2,"fields":{"message":"attempt failed","wait_ms":1000}}"#,
        );
        assert_eq!(line.message(), "attempt failed");
        assert_eq!((line.number_of("attempt"), line.number_of("wait_ms")), (Some(2), Some(1000)));
        assert_eq!(line.at().map(|at| at.timestamp_subsec_millis()), Some(678));
        assert_eq!(LogLine::parse("not JSON").message(), "");
    }
}
