//! The payload of a dead letter as it may be shown: anything may be in it.

use serde_json::{Map, Value};

use super::{
    mask::{Mask, cut, hidden, inert},
    members::{is_member_field, object},
};

/// Most characters of a payload that are shown.
const MAX_PAYLOAD_CHARACTERS: usize = 8_000;

/// The payload in words. While members are hidden, only a JSON object is shown: in anything else nobody knows what
/// names a member.
pub fn shown(payload: Option<&[u8]>, mask: &Mask) -> String {
    let Some(bytes) = payload else { return "none: a tombstone".to_owned() };
    if !mask.is_on() {
        return inert(&cut(&String::from_utf8_lossy(bytes), MAX_PAYLOAD_CHARACTERS));
    }
    match object(bytes) {
        Some(object) => inert(&cut(&Value::Object(masked(object, mask)).to_string(), MAX_PAYLOAD_CHARACTERS)),
        None => format!("{} bytes that are no JSON object, not shown while members are masked", bytes.len()),
    }
}

fn masked(object: Map<String, Value>, mask: &Mask) -> Map<String, Value> {
    let hide = |(name, value): (String, Value)| {
        let value = if is_member_field(&name) { all_hidden(value) } else { value_masked(value, mask) };
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
