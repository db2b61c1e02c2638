//! Makes stored text fit for an alarm: members are hidden, and no text steers a terminal, forges a line or is too long. Anything
//! may be in the payload of a dead letter.

use std::fmt::Write as _;

use coupon_core::{event::MAX_BYTES, repo::dlq_events::DlqEvent};
use serde_json::{Map, Value};

/// Most characters of a payload that are shown.
const MAX_PAYLOAD_CHARACTERS: usize = 8_000;
/// Fewest characters of a name that is masked: `hidden` shows shorter ones whole, and they would be found everywhere.
const MIN_NAME_CHARACTERS: usize = 3;

/// Hides the members that a dead letter names, wherever their names stand in its texts.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    names: Vec<String>,
    is_on: bool,
}

impl Mask {
    /// Returns a mask that hides nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Returns a mask that hides this member.
    pub fn of_member(member: &str) -> Self {
        Self::over([member.to_owned()])
    }

    /// Returns a mask that hides all members whom a dead letter may name: its member, its key, and the members in its payload.
    pub fn of_dead_letter(dead_letter: &DlqEvent) -> Self {
        let key = dead_letter.record_key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
        let payload = dead_letter.payload.as_deref().and_then(object);
        let named = payload.iter().flat_map(named_members);
        Self::over(dead_letter.member_id.clone().into_iter().chain(key).chain(named))
    }

    fn over(names: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for name in names.into_iter().filter(|name| name.chars().count() >= MIN_NAME_CHARACTERS) {
            // As an error shows it that quotes it.
            let quoted = format!("{name:?}");
            all.extend([quoted[1..quoted.len() - 1].to_owned(), name]);
        }
        // The longest first: one name may be part of another.
        all.sort_by_key(|name| std::cmp::Reverse(name.len()));
        all.dedup();
        Self { names: all, is_on: true }
    }

    /// Returns the text with the names of members hidden.
    fn text(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, name| text.replace(name, &hidden(name)))
    }

    /// Returns the name of a member as it may be shown.
    pub fn member(&self, member: &str) -> String {
        if self.is_on { hidden(member) } else { member.to_owned() }
    }

    /// Returns the text as it may be shown: names of members hidden, control characters escaped.
    pub fn shown(&self, text: &str) -> String {
        inert(&self.text(text))
    }

    /// Returns the payload of a dead letter as it may be shown. While members are hidden, only a JSON object is shown: in
    /// anything else nothing says which part names a member.
    pub fn payload(&self, payload: Option<&[u8]>) -> String {
        let Some(bytes) = payload else { return "none: a tombstone".to_owned() };
        if !self.is_on {
            return inert(&cut(&String::from_utf8_lossy(bytes), MAX_PAYLOAD_CHARACTERS));
        }
        match object(bytes) {
            Some(object) => inert(&cut(&masked(Value::Object(object), self).to_string(), MAX_PAYLOAD_CHARACTERS)),
            None => format!("{} bytes that are no JSON object, not shown while members are masked", bytes.len()),
        }
    }
}

/// Returns the first two characters of a name and `***`, as [`coupon_core::ids::MemberId::masked`] does.
fn hidden(name: &str) -> String {
    let mut first: String = name.chars().take(2).collect();
    first.push_str("***");
    first
}

/// Returns the text with control characters escaped, and those that change the direction of writing or are invisible.
fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_invisible = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
        if character.is_control() || is_invisible {
            write!(shown, "{}", character.escape_default()).expect("a string takes every text");
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Returns at most `most` characters of the text, with an ellipsis if there were more.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// Returns a JSON value with members hidden at every depth.
fn masked(value: Value, mask: &Mask) -> Value {
    let field = |(name, value): (String, Value)| {
        let value = if is_member_field(&name) { all_hidden(value) } else { masked(value, mask) };
        (mask.text(&name), value)
    };
    match value {
        Value::Object(object) => Value::Object(object.into_iter().map(field).collect()),
        Value::Array(values) => Value::Array(values.into_iter().map(|value| masked(value, mask)).collect()),
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

/// Reads a payload of at most [`MAX_BYTES`] as a JSON object; `None` for everything else.
fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(bytes).ok()
}

/// Returns the values of all fields that are named after a member, at every depth of nested objects.
fn named_members(object: &Map<String, Value>) -> Vec<String> {
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
fn is_member_field(name: &str) -> bool {
    name.to_ascii_lowercase().contains("member")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_hidden_in_every_text_also_where_it_is_quoted() {
        let mask = Mask::of_member("ev\"il\\one");
        let text = format!("for ev\"il\\one: invalid type: string {:?}, expected", "ev\"il\\one");
        assert_eq!(mask.text(&text), "for ev***: invalid type: string \"ev***\", expected");
        assert_eq!(Mask::of_member("alice").member("alice"), "al***");
        assert_eq!(Mask::of_member("10").text("10 of 10"), "10 of 10", "nothing of it would be hidden");
        assert_eq!(Mask::off().shown("alice"), "alice");
    }

    #[test]
    fn what_steers_a_terminal_or_turns_the_writing_is_shown_and_not_done() {
        assert_eq!(inert("a\x1b[31m\nb\u{9b}\u{202e}c 쿠폰"), "a\\u{1b}[31m\\nb\\u{9b}\\u{202e}c 쿠폰");
        assert_eq!(cut("쿠폰쿠폰", 2), "쿠폰…");
    }

    #[test]
    fn a_member_is_hidden_at_every_depth_and_what_is_no_object_is_not_shown() {
        let payload =
            br#"{"member_id":"alice","note":"alice's \u001b[31m","deep":{"memberIds":["alice"],"of":["alice",1]}}"#;
        let mask = Mask::of_member("alice");
        let text = mask.payload(Some(payload));
        assert!(!text.contains("alice") && text.contains("al***") && !text.contains('\u{1b}'), "{text}");
        for no_object in [&b"alice"[..], b"[\"alice\"]", b"\xff\xfe", b"\"alice\""] {
            let text = mask.payload(Some(no_object));
            assert!(text.starts_with(&no_object.len().to_string()) && !text.contains("alice"), "{text}");
        }
        assert_eq!(Mask::off().payload(Some(b"alice")), "alice");
    }
}
