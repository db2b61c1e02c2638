//! Where an answer ends, and its status.

use anyhow::{Context, Result};

/// Headers that an answer may have.
const MAX_HEADERS: usize = 32;

/// An answer that has arrived as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// Index of the first byte of the body.
    pub body: usize,
    /// Index behind the last byte of the answer.
    pub end: usize,
    /// Whether the server closes the connection after it.
    pub is_last: bool,
}

/// Reads an answer from its first bytes; none while some are missing. Fails on what is no answer, and on a body without
/// `Content-Length`, which no server of this pipeline sends.
pub fn parse(bytes: &[u8]) -> Result<Option<Response>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(body) = head.parse(bytes).context("this is no HTTP answer")? else {
        return Ok(None);
    };
    let value = |name: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok()
    };
    let length: usize = value("content-length").and_then(|text| text.parse().ok()).context("no Content-Length")?;
    let is_last = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let end = body + length;
    let status = head.code.context("an answer has a status")?;
    Ok((bytes.len() >= end).then_some(Response { status, body, end, is_last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n{\"a\"}";

    #[test]
    fn an_answer_is_complete_with_its_last_byte_and_not_before() {
        for length in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..length]).unwrap(), None, "{length}");
        }
        let whole = parse(ANSWER).unwrap().unwrap();
        assert_eq!((whole.status, &ANSWER[whole.body..whole.end], whole.is_last), (202, &b"{\"a\"}"[..], false));
        let followed = [ANSWER, b"HTTP/1.1 2"].concat();
        assert_eq!(parse(&followed).unwrap(), Some(whole));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        let last = b"HTTP/1.1 429 Too Many\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert!(parse(last).unwrap().unwrap().is_last);
    }
}
