//! The search for a member's id in a row, and the pseudonym in its place: in texts, documents and bytes, however it is encoded.
//!
//! An id of six characters or more that is not only digits is found wherever it stands as a word of its own. A shorter one, or a
//! number, means something else in most texts: it is found in rows of the member, where a whole value is the id, and behind the
//! word `member`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coupon_core::{ids::MemberId, repo::personal_data::Place, runtime::hex};
use serde_json::{Map, Value};

use super::encodings::{decode_hex, encodings};

/// Least length of an id that is no number and is looked for in every text, in characters.
const MIN_DISTINCTIVE: usize = 6;
/// What stands before the id in texts of ours.
const INTRODUCTIONS: [&str; 4] = ["member", "members", "member_id", "memberid"];

/// Finds a member's id and puts a pseudonym in its place.
pub(super) struct Scrub {
    member: String,
    pseudonym: String,
    /// The id as it may be written, longest first.
    encodings: Vec<Vec<u8>>,
    is_distinctive: bool,
}

impl Scrub {
    pub(super) fn new(member: &MemberId, pseudonym: &MemberId) -> Self {
        let member = member.as_str();
        let is_number = member.bytes().all(|byte| byte.is_ascii_digit());
        let is_distinctive = member.chars().count() >= MIN_DISTINCTIVE && !is_number;
        let encodings = encodings(member, is_distinctive);
        Self { member: member.to_owned(), pseudonym: pseudonym.as_str().to_owned(), encodings, is_distinctive }
    }

    /// Returns the row with the pseudonym in the columns of its place; `None`: the row does not name the member.
    pub(super) fn row(&self, place: &Place, row: &Value) -> Option<Value> {
        let mut new = row.clone();
        let is_of_member = place.member.is_some_and(|column| row[column] == self.member.as_str());
        let is_wide = self.is_distinctive || is_of_member;
        if let (true, Some(column)) = (is_of_member, place.member) {
            new[column] = self.pseudonym.as_str().into();
        }
        for column in place.columns {
            if let Some(value) = new.get_mut(*column) {
                self.value(value, column, is_wide);
            }
        }
        if new == *row {
            return None;
        }
        if let Some((column, most)) = place.bound
            && let Some(text) = new[column].as_str()
        {
            new[column] = text.chars().take(most).collect::<String>().into();
        }
        Some(new)
    }

    /// Whether a text that is written about the member names them: also by a short id or a number.
    pub(super) fn is_named_in(&self, text: &str) -> bool {
        self.text(text, "", true) != text
    }

    fn value(&self, value: &mut Value, name: &str, is_wide: bool) {
        match value {
            Value::String(text) => *text = self.text(text, name, is_wide),
            Value::Array(values) => values.iter_mut().for_each(|value| self.value(value, name, is_wide)),
            Value::Object(fields) => {
                if let Some(header) = self.header(fields, is_wide) {
                    fields.insert("value".to_owned(), header.into());
                }
                for (name, mut value) in std::mem::take(fields) {
                    self.value(&mut value, &name, is_wide);
                    fields.insert(self.text(&name, "", is_wide), value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Returns the new value of a record's header, in base64, if the header names the member.
    fn header(&self, fields: &Map<String, Value>, is_wide: bool) -> Option<String> {
        if fields.len() != 2 || !fields.contains_key("name") {
            return None;
        }
        let bytes = STANDARD.decode(fields.get("value")?.as_str()?).ok()?;
        let new = self.bytes(&bytes, is_wide);
        (new != bytes).then(|| STANDARD.encode(new))
    }

    fn text(&self, text: &str, name: &str, is_wide: bool) -> String {
        if text == self.member && (is_wide || name.contains("member")) {
            return self.pseudonym.clone();
        }
        // A column of bytes.
        if let Some(bytes) = text.strip_prefix("\\x").and_then(decode_hex) {
            let new = self.bytes(&bytes, is_wide);
            return if new == bytes { text.to_owned() } else { format!("\\x{}", hex(&new)) };
        }
        String::from_utf8(self.words(text.as_bytes(), is_wide)).unwrap_or_else(|_| text.to_owned())
    }

    /// Replaces the id in the key, the value or a header of a record.
    fn bytes(&self, bytes: &[u8], is_wide: bool) -> Vec<u8> {
        // The key of an event is the member's id.
        if bytes == self.member.as_bytes() {
            return self.pseudonym.clone().into_bytes();
        }
        let new = self.words(bytes, is_wide);
        // JSON may be escaped in more ways than there are encodings.
        let Ok(document) = serde_json::from_slice::<Value>(&new) else { return new };
        let mut replaced = document.clone();
        self.value(&mut replaced, "", is_wide);
        if replaced == document { new } else { replaced.to_string().into_bytes() }
    }

    /// Replaces the id where it stands as a word of its own.
    fn words(&self, bytes: &[u8], is_wide: bool) -> Vec<u8> {
        let (mut new, mut at) = (Vec::with_capacity(bytes.len()), 0);
        while let Some(byte) = bytes.get(at) {
            let (before, rest) = bytes.split_at(at);
            let found = self.encodings.iter().find(|encoding| rest.starts_with(encoding));
            let found = found.filter(|encoding| {
                let is_word = ends_before(before) && begins_after(&rest[encoding.len()..]);
                is_word && (is_wide || is_introduced(before))
            });
            if let Some(encoding) = found {
                new.extend_from_slice(self.pseudonym.as_bytes());
                at += encoding.len();
            } else {
                new.push(*byte);
                at += 1;
            }
        }
        new
    }
}

/// Whether a byte may stand within an id, so that what is beside it is only a part of one.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Whether a word may begin behind these bytes.
fn ends_before(before: &[u8]) -> bool {
    before.last().is_none_or(|last| !is_of_word(*last)) || escape(before) > 0
}

/// Whether a word may end before these bytes: neither `alice@example.org` nor `alice.b` is `alice`.
fn begins_after(after: &[u8]) -> bool {
    match after {
        [b'@', ..] => false,
        [b'.', next, ..] | [next, ..] => !is_of_word(*next),
        [] => true,
    }
}

/// Whether what stands before says that a member follows.
fn is_introduced(mut before: &[u8]) -> bool {
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    loop {
        let length = escape(before).max(usize::from(before.last().is_some_and(|last| !is_letter(last))));
        if length == 0 {
            break;
        }
        before = &before[..before.len() - length];
    }
    let word = before.iter().rposition(|byte| !is_letter(byte)).map_or(before, |at| &before[at + 1..]);
    INTRODUCTIONS.iter().any(|introduction| word.eq_ignore_ascii_case(introduction.as_bytes()))
}

/// Returns the length of the escape sequence at the end of a text: `\n`, `\u000a`, `%0A`; 0: there is none.
fn escape(text: &[u8]) -> usize {
    let are_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match text {
        [.., b'\\', b'u', a, b, c, d] if are_hex(&[*a, *b, *c, *d]) => 6,
        [.., b'%', a, b] if are_hex(&[*a, *b]) => 3,
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
