//! The examples of a document, and what an answer has to have in common with one.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::answers::Got;

/// Members of an answer that differ from request to request; of each, the kind is compared.
const DIFFERENT_EACH_TIME: [&str; 9] =
    ["request_id", "expires_at", "detail", "instance", "opens_at", "server_time", "total", "remaining", "next"];

/// The examples of a document, and which of them are not replayed yet.
#[derive(Debug)]
pub(super) struct Examples {
    document: Value,
    left: BTreeSet<String>,
}

impl PartialEq for Examples {
    fn eq(&self, other: &Self) -> bool {
        self.document["components"]["examples"] == other.document["components"]["examples"]
    }
}

impl Examples {
    /// Those of a document.
    pub(super) fn of(document: &Value) -> Result<Self> {
        let all = document["components"]["examples"].as_object().context("examples")?;
        Ok(Self { document: document.clone(), left: all.keys().cloned().collect() })
    }

    /// Names of the examples that nothing was compared with.
    pub(super) fn left(&self) -> Vec<&str> {
        self.left.iter().map(String::as_str).collect()
    }

    /// Compares an answer to an operation with an example. The document has to name it for this operation and this status, or
    /// for any other status, with the headers that came.
    pub(super) fn replay(&mut self, operation: &str, name: &str, got: &Got) -> Result<()> {
        let response = self.response(operation, got.status)?;
        let content = response["content"].as_object().context("content")?;
        let kind = got.header("content-type").and_then(|kind| kind.split(';').next()).context("a media type")?;
        let examples =
            &content.get(kind).with_context(|| format!("{kind} for {operation} {}", got.status))?["examples"];
        ensure!(examples.get(name).is_some(), "{operation} {} has no example {name}: {got:?}", got.status);
        let example = &self.document["components"]["examples"][name]["value"];
        alike(example, &got.body, "").with_context(|| format!("{name} is {}", got.body))?;
        check_headers(response, got).with_context(|| format!("{name}: {got:?}"))?;
        self.left.remove(name);
        Ok(())
    }

    fn response(&self, operation: &str, status: u16) -> Result<&Value> {
        let paths = self.document["paths"].as_object().context("paths")?;
        let mut operations = paths.values().filter_map(Value::as_object).flat_map(|item| item.values());
        let found = operations.find(|found| found["operationId"] == operation).context("the operation")?;
        let responses = found["responses"].as_object().context("responses")?;
        let response = responses.get(&status.to_string()).or_else(|| responses.get("default")).context("a response")?;
        match response["$ref"].as_str() {
            Some(to) => self.document.pointer(to.trim_start_matches('#')).context("what is referred to"),
            None => Ok(response),
        }
    }
}

/// What a header stands for is there whenever it is said to be.
fn check_headers(response: &Value, got: &Got) -> Result<()> {
    let documented = |name: &str| response["headers"].get(name).is_some();
    let retryable = got.body["retryable"] == true && got.status >= 400;
    let expected = [
        ("Retry-After", retryable),
        ("WWW-Authenticate", got.status == 401),
        ("Location", documented("Location")),
        ("ETag", documented("ETag")),
        ("Cache-Control", true),
        ("X-Request-Id", got.status >= 500),
    ];
    for (name, is_expected) in expected {
        ensure!(got.headers.contains_key(name) == is_expected, "{name}");
        ensure!(!is_expected || documented(name), "{name} is not documented");
    }
    Ok(())
}

/// Whether a value has the members of the example, and its values but for what differs each time.
fn alike(example: &Value, got: &Value, at: &str) -> Result<()> {
    match (example, got) {
        (Value::Object(example), Value::Object(got)) => {
            let names = |of: &serde_json::Map<String, Value>| of.keys().cloned().collect::<Vec<_>>();
            ensure!(names(example) == names(got), "{at}: the members are {:?}, not {:?}", names(got), names(example));
            for (name, example) in example {
                alike(example, &got[name], name)?;
            }
        }
        (Value::Array(example), Value::Array(got)) => {
            ensure!(example.len() == got.len(), "{at}: {} of them, not {}", got.len(), example.len());
            for (example, got) in example.iter().zip(got) {
                alike(example, got, at)?;
            }
        }
        _ if DIFFERENT_EACH_TIME.contains(&at) => {
            let is_one_kind = std::mem::discriminant(example) == std::mem::discriminant(got);
            ensure!(is_one_kind, "{at}: {got} instead of {example}");
        }
        _ => ensure!(example == got, "{at}: {got} instead of {example}"),
    }
    Ok(())
}
