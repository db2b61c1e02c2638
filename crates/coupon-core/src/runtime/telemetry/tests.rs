use std::sync::{Arc, Mutex};

use tracing::subscriber::with_default;

use super::*;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

#[derive(Debug, thiserror::Error)]
#[error("outer \x1b[2J")]
struct Outer(#[source] io::Error);

const HOSTILE: &str = "\x1b[31mred\x07\n2026-01-01 INFO forged\r\u{9b}2J\x7f";

fn log_hostile_lines() {
    let span = tracing::info_span!("request", path = %HOSTILE);
    let _entered = span.enter();
    let error = Outer(io::Error::other(HOSTILE));
    tracing::info!(code = %HOSTILE, text = HOSTILE, debug = ?HOSTILE, "message {HOSTILE}");
    tracing::error!(error = &error as &(dyn Error + 'static), "{HOSTILE}");
}

#[test]
fn no_control_character_reaches_a_terminal_in_text_lines() {
    let captured = Captured::default();
    let writer = captured.clone();
    with_default(text_lines(EnvFilter::new("info"), false, move || writer.clone()), log_hostile_lines);
    let text = captured.text();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
    assert!(text.contains("code=\\u{1b}[31mred") && text.contains("request{path=\\u{1b}"), "{text}");
    assert!(text.contains("error=outer \\u{1b}[2J: \\u{1b}[31mred"), "{text}");
}

#[test]
fn no_control_character_reaches_a_terminal_in_json_lines() {
    let captured = Captured::default();
    let writer = captured.clone();
    with_default(json_lines(EnvFilter::new("info"), move || writer.clone()), log_hostile_lines);
    let text = captured.text();
    assert!(!text.chars().any(|character| character.is_control() && character != '\n'), "{text:?}");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["fields"]["message"], format!("message {HOSTILE}"));
    assert_eq!(lines[0]["fields"]["code"], HOSTILE);
    assert_eq!(lines[0]["level"], "INFO");
}

#[test]
fn only_our_own_colours_are_written_to_a_terminal() {
    let captured = Captured::default();
    let writer = captured.clone();
    with_default(text_lines(EnvFilter::new("info"), true, move || writer.clone()), log_hostile_lines);
    let text = captured.text();
    assert!(text.contains('\x1b') && !text.contains("\x1b[31mred"), "{text:?}");
    assert!(!text.contains(['\x07', '\r', '\u{9b}', '\x7f']), "{text:?}");
}

#[test]
fn a_line_begins_with_the_time_in_utc_with_milliseconds() {
    let captured = Captured::default();
    let writer = captured.clone();
    with_default(text_lines(EnvFilter::new("info"), false, move || writer.clone()), || {
        tracing::info!(partition = 3, "assigned");
        tracing::debug!("filtered");
    });
    let text = captured.text();
    let (time, rest) = text.split_once(' ').expect("a head");
    assert_eq!(time.len(), "2026-01-01T00:00:00.000Z".len());
    assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok() && time.ends_with('Z'), "{time}");
    assert!(rest.ends_with("assigned partition=3\n"), "{rest}");
}

#[test]
fn a_panic_is_one_error_line() {
    let captured = Captured::default();
    let writer = captured.clone();
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| log_panic(panic, true)));
    with_default(json_lines(EnvFilter::new("info"), move || writer.clone()), || {
        drop(std::panic::catch_unwind(|| panic!("broken\n\x1b[2J")));
    });
    std::panic::set_hook(previous);
    let text = captured.text();
    let line = text.lines().find(|line| line.contains("broken")).expect("the panic's line");
    let line: serde_json::Value = serde_json::from_str(line).expect("one object");
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["fields"]["message"], "panic: broken\n\x1b[2J");
    assert!(line["fields"]["location"].as_str().is_some_and(|place| place.contains("tests.rs")));
}
