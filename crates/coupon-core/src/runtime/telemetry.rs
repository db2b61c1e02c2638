//! Log lines on standard error: readable on a terminal, JSON off it, nothing that steers a terminal
//! in either.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::fmt::{self, Debug, Write as _};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;

use chrono::{SecondsFormat, Utc};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{Layer, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::text::{EscapingWriter, chain};
use super::{LogFormat, LogSettings, Throttle, panics};

/// Turns logging on for the process, and logs a panic as an error line instead of raw text.
///
/// A line carries the time in UTC as RFC 3339 with milliseconds. As JSON it is one object with
/// `timestamp`, `level`, `target` and `fields`, of which `message` is the text. Lines of the `log`
/// crate are taken over. Colours are used on a terminal unless `NO_COLOR` is set. A second call
/// changes nothing.
pub fn init(settings: &LogSettings, service: &'static str) {
    let terminal = io::stderr().is_terminal();
    let json = match settings.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = EnvFilter::try_new(&settings.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let installed = if json {
        json_lines(filter, io::stderr).try_init()
    } else {
        text_lines(filter, colour, io::stderr).try_init()
    };
    if installed.is_ok() {
        std::panic::set_hook(Box::new(move |panic| log_panic(panic, json)));
        tracing::info!(service, pid = std::process::id(), "{service} starts");
    }
}

fn text_lines<W>(filter: EnvFilter, colour: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = Layer::new().with_ansi(colour).with_timer(UtcMillis).fmt_fields(EscapedFields);
    tracing_subscriber::registry().with(filter).with(layer.with_writer(writer))
}

fn json_lines<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = Layer::new().json().with_timer(UtcMillis);
    tracing_subscriber::registry().with(filter).with(layer.with_writer(EscapedJson(writer)))
}

fn log_panic(panic: &PanicHookInfo<'_>, json: bool) {
    static PANICS: Throttle = Throttle::new();
    if panics::are_unlogged() {
        return;
    }
    let message = panic.payload_as_str().unwrap_or("a panic without text");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // A handler may panic once for each request.
    let Some(count) = PANICS.admit(&location) else { return };
    let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured && json {
        tracing::error!(location, thread, count, %backtrace, "panic: {message}");
        return;
    }
    tracing::error!(location, thread, count, "panic: {message}");
    if backtrace.status() == BacktraceStatus::Captured {
        // Many lines, but only function names and files: for the person who asked for them.
        eprintln!("{backtrace}");
    }
}

struct UtcMillis;

impl FormatTime for UtcMillis {
    #[expect(clippy::disallowed_methods, reason = "a log line tells the machine's time, and changes nothing by it")]
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

/// The fields of a text line. tracing-subscriber 0.3.23 escapes some control characters in the
/// message, but none in a field recorded by `%`, and never a line break.
struct EscapedFields;

impl<'writer> FormatFields<'writer> for EscapedFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = EscapedVisitor { writer: &mut writer, is_first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct EscapedVisitor<'a, 'writer> {
    writer: &'a mut Writer<'writer>,
    is_first: bool,
    result: fmt::Result,
}

impl EscapedVisitor<'_, '_> {
    fn write(&mut self, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.is_first) {
            self.writer.write_char(' ')?;
        }
        if name != "message" {
            let (dim, plain) = if self.writer.has_ansi_escapes() { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
            write!(self.writer, "{dim}{}={plain}", name.trim_start_matches("r#"))?;
        }
        EscapingWriter(&mut *self.writer).write_fmt(value)
    }
}

impl Visit for EscapedVisitor<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // `log.…` describes a line of the `log` crate and is already part of the line's head.
        if self.result.is_ok() && !field.name().starts_with("log.") {
            self.result = self.write(field.name(), format_args!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{}", chain(value)));
    }
}

/// JSON escapes the C0 control characters, not DEL and C1, which some terminals obey as well.
struct EscapedJson<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for EscapedJson<W> {
    type Writer = EscapedJsonWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        EscapedJsonWriter(self.0.make_writer())
    }
}

struct EscapedJsonWriter<W>(W);

impl<W: Write> Write for EscapedJsonWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if !text.contains(is_del_or_c1) {
            return self.0.write(line);
        }
        let mut escaped = String::with_capacity(line.len() + 16);
        for character in text.chars() {
            if is_del_or_c1(character) {
                // Such a character occurs only inside a JSON string, where this means the same.
                write!(escaped, "\\u{:04x}", u32::from(character)).map_err(io::Error::other)?;
            } else {
                escaped.push(character);
            }
        }
        self.0.write_all(escaped.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn is_del_or_c1(character: char) -> bool {
    matches!(character, '\u{7f}'..='\u{9f}')
}

#[cfg(test)]
mod tests;
