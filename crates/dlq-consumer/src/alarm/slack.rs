//! The layout of an alarm for an incoming webhook of Slack: `text` for notifications, `blocks` to read.
//!
//! Everything that comes from outside stands in code, escaped, and cannot end it: Slack's markup, its links and its
//! `<!channel>` are shown and do nothing. Limits: <https://docs.slack.dev/reference/block-kit/blocks/section-block>.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::{
    classify::Severity,
    view::{Alarm, DeadLetterView, Links},
};

/// Most characters of the text of a section.
const MAX_SECTION_CHARACTERS: usize = 3_000;
/// Most characters of a field of a section.
const MAX_FIELD_CHARACTERS: usize = 2_000;
/// Most fields of a section.
const MAX_SECTION_FIELDS: usize = 10;
/// Most characters of `text` that are sent; Slack takes more and shows less.
const MAX_TEXT_CHARACTERS: usize = 2_000;

/// Returns the alarm in blocks, as an incoming webhook takes it.
pub fn message(alarm: &Alarm) -> Value {
    let sign = match alarm.severity {
        Severity::Critical => ":rotating_light:",
        Severity::Warning => ":warning:",
        Severity::Ok => ":white_check_mark:",
        Severity::Test => ":information_source:",
    };
    let installation =
        if alarm.installation.is_empty() { String::new() } else { format!("{} ", code(&alarm.installation, 100)) };
    let headline = code(&alarm.headline, MAX_SECTION_CHARACTERS - 300);
    let mut blocks = vec![section(&format!("{sign} *{}* {installation}{headline}", alarm.severity.as_str()))];
    blocks.extend(
        alarm.notes.iter().map(|note| section(&format!(":warning: {}", code(note, MAX_SECTION_CHARACTERS - 100)))),
    );
    blocks.extend(fields(&counts(alarm)));
    blocks.extend(alarm.causes.iter().map(|of| {
        let (headline, command) = (code(&of.headline, 1_500), code(&of.command, 500));
        section(&format!("*{} of one cause*\n{headline}\n{command}", of.count))
    }));
    if let Some(dead_letter) = &alarm.letter {
        blocks.extend(fields(&facts(dead_letter)));
        blocks.push(long("error", &dead_letter.error));
        if !dead_letter.error_chain.is_empty() {
            blocks.push(long("error chain", &dead_letter.error_chain.join("\n")));
        }
        blocks.push(long("payload", &dead_letter.payload));
    }
    blocks.push(section(&format!("*look closer*\n{}", code(&alarm.command, MAX_SECTION_CHARACTERS - 100))));
    let links = links(alarm);
    if !links.is_empty() {
        blocks.push(section(&links));
    }
    json!({ "text": code(&line(alarm), MAX_TEXT_CHARACTERS), "blocks": blocks })
}

/// Returns the alarm as one plain text with what matters most, for a webhook that refuses the blocks.
pub fn plain(alarm: &Alarm) -> Value {
    let mut text = format!("{}\ncause: {}", code(&line(alarm), MAX_TEXT_CHARACTERS), code(&alarm.cause, 500));
    for of in &alarm.causes {
        write!(text, "\n{} of {}: {}", of.count, code(&of.cause, 300), code(&of.command, 200))
            .expect("a string takes every text");
    }
    if let Some(dead_letter) = &alarm.letter {
        let id = dead_letter.request_id.as_deref().unwrap_or("none");
        write!(text, "\nfirst dead letter: {}, request {}", dead_letter.id, code(id, 100))
            .expect("a string takes every text");
    }
    json!({ "text": format!("{text}\n{}", links(alarm)) })
}

/// Returns the alarm in one line: severity, installation, headline, remarks and command.
fn line(alarm: &Alarm) -> String {
    let Alarm { installation, headline, command, .. } = alarm;
    let notes = alarm.notes.iter().fold(String::new(), |notes, note| notes + " (" + note + ")");
    let installation = if installation.is_empty() { String::new() } else { format!("[{installation}] ") };
    format!("[{}] {installation}{headline}{notes} — {command}", alarm.severity.as_str())
}

/// Returns the links to console, runbook and dashboard as markup. Their addresses come from the settings, which refuse any that could
/// break the markup.
fn links(alarm: &Alarm) -> String {
    let Links { runbook, dashboard, console } = &alarm.links;
    let links = [(console, "console"), (runbook, "runbook"), (dashboard, "dashboard")];
    let links = links.iter().filter_map(|(url, name)| Some(format!("<{}|{name}>", url.as_ref()?)));
    links.collect::<Vec<_>>().join(" · ")
}

/// Returns what is shown of all dead letters and notices of the alarm.
fn counts(alarm: &Alarm) -> Vec<(&'static str, String)> {
    let mut counts = vec![("cause", alarm.cause.clone()), ("count", alarm.count.to_string())];
    if !alarm.by_status.is_empty() {
        let by_status = alarm.by_status.iter().map(|(status, count)| format!("{count} {status}"));
        counts.push(("by status", by_status.collect::<Vec<_>>().join(", ")));
    }
    if !alarm.by_coupon.is_empty() {
        let by_coupon = alarm.by_coupon.iter().map(|of| format!("{} {}", of.count, of.coupon));
        counts.push(("by coupon", by_coupon.collect::<Vec<_>>().join(", ")));
    }
    counts.extend([("first", time(alarm.first_at)), ("last", time(alarm.last_at))]);
    if let Some(before) = &alarm.told_before {
        counts.push(("told before", format!("{} in all, last at {}", before.count, time(before.at))));
    }
    counts
}

/// Returns what is shown of the first dead letter, without its long texts.
fn facts(dead_letter: &DeadLetterView) -> Vec<(&'static str, String)> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    vec![
        ("first dead letter", dead_letter.id.to_string()),
        ("type", dead_letter.event_type.clone()),
        ("status", dead_letter.status.to_owned()),
        ("created", time(dead_letter.created_at)),
        ("request id", or_none(&dead_letter.request_id)),
        ("origin", dead_letter.origin.clone()),
        ("coupon", or_none(&dead_letter.coupon)),
        ("member", or_none(&dead_letter.member)),
        ("record key", or_none(&dead_letter.key)),
        ("error class and code", format!("{} {}", dead_letter.error_class, dead_letter.error_code)),
        ("attempts", dead_letter.attempts.to_string()),
    ]
}

fn fields(pairs: &[(&str, String)]) -> Vec<Value> {
    let text = |(name, value): &(&str, String)| format!("*{name}*\n{}", code(value, MAX_FIELD_CHARACTERS - 100));
    let block = |some: &[(&str, String)]| {
        let fields: Vec<_> = some.iter().map(|pair| json!({ "type": "mrkdwn", "text": text(pair) })).collect();
        json!({ "type": "section", "fields": fields })
    };
    pairs.chunks(MAX_SECTION_FIELDS).map(block).collect()
}

fn long(name: &str, value: &str) -> Value {
    section(&format!("*{name}*\n```{}```", escaped(value, MAX_SECTION_CHARACTERS - 100)))
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": text } })
}

/// Returns a text of at most `most` characters as inline code.
fn code(text: &str, most: usize) -> String {
    let shown = escaped(&text.replace('\n', " "), most);
    format!("`{}`", if shown.is_empty() { "none" } else { &shown })
}

/// Returns a text escaped for Slack, of at most `most` characters counted in UTF-16 after escaping: however Slack counts, its
/// limit holds. Back-ticks are replaced, because they would end the inline code.
fn escaped(text: &str, most: usize) -> String {
    let (mut shown, mut length) = (String::new(), 0);
    for character in text.chars() {
        let mut own = [0; 4];
        let piece = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '`' => "ˋ",
            other => other.encode_utf8(&mut own),
        };
        // An entity is never cut in half.
        length += piece.encode_utf16().count();
        if length >= most {
            shown.push('…');
            return shown;
        }
        shown.push_str(piece);
    }
    shown
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_inert_and_every_text_is_bounded() {
        let mut alarm = Alarm::test("somebody", DateTime::UNIX_EPOCH);
        alarm.headline = "<!channel> ```*now*``` <https://evil.test|ok> & ".repeat(500);
        alarm.notes = vec!["<".repeat(9_000), "🎟".repeat(8_000)];
        alarm.cause = "`_x_`".repeat(2_000);
        let message = message(&alarm);
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() < 50);
        for block in blocks {
            let fields = block["fields"].as_array().cloned().unwrap_or_default();
            assert!(fields.len() <= MAX_SECTION_FIELDS);
            for text in fields.iter().filter_map(|field| field["text"].as_str()) {
                assert!(
                    text.encode_utf16().count() <= MAX_FIELD_CHARACTERS,
                    "{} characters",
                    text.encode_utf16().count()
                );
            }
            let text = block["text"]["text"].as_str().unwrap_or_default();
            assert!(
                text.encode_utf16().count() <= MAX_SECTION_CHARACTERS,
                "{} characters",
                text.encode_utf16().count()
            );
            assert!(!text.contains('<') && !text.contains("```*"), "{text}");
        }
        assert_eq!(escaped("a<b", 4), "a…", "no entity is cut in half");
    }
}
