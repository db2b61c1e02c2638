//! The payload of a dead letter as it may be shown: anything may be in it.

use coupon_core::event::MAX_BYTES;
use serde_json::{Map, Value};

use super::mask::{Mask, cut, hidden, inert};

/// Most characters of a payload that are shown.
const MOST: usize = 8_000;

/// The payload in words. While members are hidden, only a JSON object is shown: in anything else nobody knows what
/// names a member.
pub fn shown(payload: Option<&[u8]>, mask: &Mask) -> String {
    let Some(bytes) = payload else { return "none: a tombstone".to_owned() };
    if !mask.is_on() {
        return inert(&cut(&String::from_utf8_lossy(bytes), MOST));
    }
    match object(bytes) {
        Some(object) => inert(&cut(&Value::Object(masked(object, mask)).to_string(), MOST)),
        None => format!("{} bytes that are no JSON object, not shown while members are masked", bytes.len()),
    }
}

/// The payload, if it is a JSON object of a size that is looked at.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// Whom the fields that are named after a member name.
pub fn members(object: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in object {
        match value {
            Value::String(text) if is_of_member(name) => found.push(text.clone()),
            Value::Number(number) if is_of_member(name) => found.push(number.to_string()),
            Value::Object(inner) => found.extend(members(inner)),
            _ => {}
        }
    }
    found
}

fn is_of_member(name: &str) -> bool {
    name.to_ascii_lowercase().contains("member")
}

fn masked(object: Map<String, Value>, mask: &Mask) -> Map<String, Value> {
    let hide = |(name, value): (String, Value)| {
        let value = if is_of_member(&name) { all_hidden(value) } else { value_masked(value, mask) };
        (mask.text(&name), value)
    };
    object.into_iter().map(hide).collect()
}

fn value_masked(value: Value, mask: &Mask) -> Value {
    match value {
        Value::Object(object) => Value::Object(masked(object, mask)),
        Value::Array(values) => Value::Array(values.into_iter().map(|value| value_masked(value, mask)).collect()),
        Value::String(text) => Value::String(mask.text(&text)),
        Value::Number(number) => {
            let text = number.to_string();
            let hidden = mask.text(&text);
            if hidden == text { Value::Number(number) } else { Value::String(hidden) }
        }
        other => other,
    }
}

fn all_hidden(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(hidden(&text)),
        Value::Null => Value::Null,
        _ => Value::String("***".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_hidden_at_every_depth_and_what_is_no_object_is_not_shown() {
        let payload =
            br#"{"member_id":"alice","note":"alice's \u001b[31m","deep":{"memberIds":["alice"],"of":["alice",1]}}"#;
        let mask = Mask::of_member("alice");
        let text = shown(Some(payload), &mask);
        assert!(!text.contains("alice") && text.contains("al***") && !text.contains('\u{1b}'), "{text}");
        for no_object in [&b"alice"[..], b"[\"alice\"]", b"\xff\xfe", b"\"alice\""] {
            let text = shown(Some(no_object), &mask);
            assert!(text.starts_with(&no_object.len().to_string()) && !text.contains("alice"), "{text}");
        }
        assert_eq!(shown(Some(b"alice"), &Mask::off()), "alice");
    }
}
