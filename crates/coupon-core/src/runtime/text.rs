//! How foreign text is shown: control characters escaped, error chains on one line, bytes as digits.

use std::error::Error;
use std::fmt::{self, Debug, Display, Formatter, Write};

/// Shows a value with its control characters escaped (`\n`, `\u{1b}`), so that text from outside
/// can neither steer a terminal nor forge a second log line.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<T>(pub T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(EscapingWriter(formatter), "{}", self.0)
    }
}

/// Returns bytes as hexadecimal digits in lower case, two for each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

/// Passes text on with every control character (C0, DEL and C1) escaped.
pub(super) struct EscapingWriter<W>(pub(super) W);

impl<W: Write> Write for EscapingWriter<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(char::is_control) {
            let (clean, tail) = rest.split_at(at);
            self.0.write_str(clean)?;
            let mut characters = tail.chars();
            if let Some(control) = characters.next() {
                write!(self.0, "{}", control.escape_default())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// An error and all its causes on one line, joined by `: `, for the one place that handles it.
///
/// A cause whose text the error above it already ends with is not said twice: some drivers put the
/// cause into their own text as well.
pub fn chain(error: &(dyn Error + 'static)) -> impl Display + Debug {
    fmt::from_fn(move |formatter| {
        let mut said = error.to_string();
        write!(formatter, "{}", Escaped(&said))?;
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(formatter, ": {}", Escaped(&text))?;
                said = text;
            }
            next = cause.source();
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Link {
        text: &'static str,
        source: Option<Box<Link>>,
    }

    fn links(texts: &[&'static str]) -> Link {
        Link { text: texts[0], source: (texts.len() > 1).then(|| Box::new(links(&texts[1..]))) }
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = links(&["start", "pool: refused", "refused", "end"]);
        assert_eq!(chain(&error).to_string(), "start: pool: refused: end");
    }

    #[test]
    fn control_characters_are_escaped_and_other_text_is_kept() {
        let shown = Escaped("a\x1b[31m\nb\u{9b}c\x7f 쿠폰").to_string();
        assert_eq!(shown, "a\\u{1b}[31m\\nb\\u{9b}c\\u{7f} 쿠폰");
    }
}
