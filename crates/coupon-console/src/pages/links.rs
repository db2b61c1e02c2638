//! Addresses of pages whose last segment may hold any characters.

use std::fmt::Write;

/// Returns a text as one segment of a path. A dot is encoded too: a browser takes `.` and `..` away, and `.json` behind a path
/// is the JSON of its page.
pub(crate) fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~') {
            segment.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_member_of_any_characters_is_one_segment() {
        assert_eq!(segment("alice-0001"), "alice-0001");
        assert_eq!(segment("a/b c?d.json#ü"), "a%2Fb%20c%3Fd%2Ejson%23%C3%BC");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
