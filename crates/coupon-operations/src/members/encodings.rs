//! The ways in which a member's id is written in texts and bytes.

use std::fmt::Write;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use coupon_core::runtime::hex;

/// Returns the id as it may be written, longest first: as it is, escaped for JSON, for an address and for a form. With `all` also
/// in base64 and in hexadecimal digits, which a short id would find everywhere.
pub(super) fn encodings(member: &str, all: bool) -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(member).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let mut found =
        vec![member.to_owned(), json.replace('/', "\\/"), in_ascii(&json, true), in_ascii(&json, false), json];
    for unreserved in ["-_.~", "-_~", "-_.*", "-_.~!$&'()*+,;=:@"] {
        let encoded = percent(member, unreserved);
        found.push(encoded.replace("%20", "+"));
        found.push(in_lower_case(&encoded));
        found.push(encoded);
    }
    if all {
        found.extend([STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].map(|base| base.encode(member)));
        found.push(hex(member.as_bytes()));
    }
    let mut found: Vec<Vec<u8>> = found.into_iter().map(String::into_bytes).collect();
    found.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
    found.dedup();
    found
}

/// Returns JSON with `\u` in the place of everything beyond ASCII.
fn in_ascii(json: &str, is_upper: bool) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = if is_upper { write!(text, "\\u{unit:04X}") } else { write!(text, "\\u{unit:04x}") };
        }
    }
    text
}

/// Returns a text for an address: letters, digits and `unreserved` as they are.
fn percent(text: &str, unreserved: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || unreserved.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Returns an address with the digits behind each `%` in lower case.
fn in_lower_case(encoded: &str) -> String {
    let mut parts = encoded.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
        text.extend(["%", &digits.to_ascii_lowercase(), rest]);
    }
    text
}

/// Returns the bytes of hexadecimal digits; `None`: these are none.
pub(super) fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    if digits.len() % 2 == 1 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? * 16 + digit(pair[1])?)).collect()
}
