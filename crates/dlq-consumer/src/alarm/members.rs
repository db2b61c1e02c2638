//! Which members the payload of a dead letter names: anything may be in it.

use coupon_core::event::MAX_BYTES;
use serde_json::{Map, Value};

/// Reads a payload of at most [`MAX_BYTES`] as a JSON object; `None` for everything else.
pub fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// Returns the values of all fields that are named after a member, at every depth of nested objects.
pub fn named_members(object: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in object {
        match value {
            Value::String(text) if is_member_field(name) => found.push(text.clone()),
            Value::Number(number) if is_member_field(name) => found.push(number.to_string()),
            Value::Object(inner) => found.extend(named_members(inner)),
            _ => {}
        }
    }
    found
}

/// Whether a field is named after a member.
pub fn is_member_field(name: &str) -> bool {
    name.to_ascii_lowercase().contains("member")
}
