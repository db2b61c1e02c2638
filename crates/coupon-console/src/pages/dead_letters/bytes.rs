//! Bytes of a record, shown as text and as hex. They come from outside and are interpreted by nobody.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coupon_core::runtime::Escaped;
use serde::Serialize;

/// Bytes that a page shows; JSON has all of them.
const SHOWN_BYTES: usize = 4_096;
/// Bytes in a line of hex.
const LINE_BYTES: usize = 16;

/// Some bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Bytes {
    /// All of them, in base64.
    pub base64: String,
    /// Number.
    pub length: usize,
    /// As text, if they are UTF-8; control characters are shown.
    #[serde(skip)]
    pub text: Option<String>,
    /// The first ones as hex, sixteen in a line.
    #[serde(skip)]
    pub hex: String,
    /// Whether the page shows fewer than there are.
    #[serde(skip)]
    pub is_cut: bool,
}

impl Bytes {
    /// Returns the bytes of this base64.
    pub(super) fn of(base64: &str) -> Self {
        let bytes = STANDARD.decode(base64).unwrap_or_default();
        let text = std::str::from_utf8(&bytes).ok().map(|text| {
            let end = text.char_indices().nth(SHOWN_BYTES).map_or(text.len(), |(at, _)| at);
            Escaped(&text[..end]).to_string()
        });
        let (hex, is_cut) = (hex(&bytes[..bytes.len().min(SHOWN_BYTES)]), bytes.len() > SHOWN_BYTES);
        Self { base64: base64.to_owned(), length: bytes.len(), text, hex, is_cut }
    }

    /// Returns the number of bytes in words.
    pub(super) fn size(&self) -> String {
        if self.length == 1 { "1 byte".to_owned() } else { format!("{} bytes", self.length) }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut lines = String::with_capacity(bytes.len() * 4);
    for (line, bytes) in bytes.chunks(LINE_BYTES).enumerate() {
        write!(lines, "{:06x} ", line * LINE_BYTES).expect("a string takes everything");
        for byte in bytes {
            write!(lines, " {byte:02x}").expect("a string takes everything");
        }
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_and_hex_and_never_a_command() {
        let bytes = Bytes::of(&STANDARD.encode("{\"a\"}\u{1b}[2J<b>"));
        assert_eq!(bytes.text.as_deref(), Some("{\"a\"}\\u{1b}[2J<b>"));
        assert_eq!(bytes.hex, "000000  7b 22 61 22 7d 1b 5b 32 4a 3c 62 3e\n");
        let binary = Bytes::of(&STANDARD.encode([0xff; 5_000]));
        assert!(binary.text.is_none() && binary.is_cut && binary.length == 5_000 && binary.hex.lines().count() == 256);
    }
}
