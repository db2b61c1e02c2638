//! The layout of the demo on the screen.

use chrono::{DateTime, Utc};
use indicatif::HumanCount;

use crate::{answers::Answer, process::logs::LogLine};

/// Width of the output, in columns.
const WIDTH: usize = 100;

/// Time, place and text of one line of the story.
type Event = (DateTime<Utc>, &'static str, String);

/// The lines of a story in the order of their times: when, how long after the line before, where, what. Logs and tables
/// are read one after the other, so an event that another place may have preceded is held until that place is read.
#[derive(Default)]
pub(super) struct Timeline {
    before: Option<DateTime<Utc>>,
    held: Vec<Event>,
}

impl Timeline {
    /// Tells an event, and those held, in the order of their times.
    pub fn tell(&mut self, at: DateTime<Utc>, place: &'static str, what: String) {
        self.hold(at, place, what);
        self.tell_held();
    }

    /// Keeps an event back until the next one is printed.
    pub fn hold(&mut self, at: DateTime<Utc>, place: &'static str, what: String) {
        self.held.push((at, place, what));
    }

    fn tell_held(&mut self) {
        for (at, place, what) in in_order(std::mem::take(&mut self.held)) {
            let after = self.before.replace(at).map(|before| seconds(at - before)).unwrap_or_default();
            println!("  {}  {after:>8}  {place:<14}  {}", clock(at), cut(&what, WIDTH - 42));
        }
    }

    /// Tells of a failed attempt, as a consumer has logged it. The last one is held: what comes of it is soon elsewhere.
    pub fn tell_attempt(&mut self, place: &'static str, line: &LogLine) {
        let number = |name: &str| line.number_of(name).map_or_else(|| "?".to_owned(), |number| number.to_string());
        let text = |name: &str| line.text_of(name).unwrap_or_default();
        let next = line.number_of("wait_ms").map(|ms| format!(", next one in {} s", ms / 1000)).unwrap_or_default();
        let what = format!(
            "attempt {} of {} failed ({} {}){next}",
            number("attempt"),
            number("max_attempts"),
            text("class"),
            text("code")
        );
        self.hold(line.at().unwrap_or_default(), place, what);
        if !next.is_empty() {
            self.tell_held();
        }
    }
}

/// A story that breaks off still tells what it has seen.
impl Drop for Timeline {
    fn drop(&mut self) {
        self.tell_held();
    }
}

/// Events of one moment stay as they were read.
fn in_order(mut events: Vec<Event>) -> Vec<Event> {
    events.sort_by_key(|(at, ..)| *at);
    events
}

/// Returns a time as `HH:MM:SS.mmm`.
pub(super) fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S%.3f").to_string()
}

/// Returns a number with commas between the thousands.
pub(super) fn count(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

/// The first few members, and a sign that there are more.
pub(super) fn first_of<'a>(answers: impl Iterator<Item = &'a Answer>) -> String {
    let mut members: Vec<&str> = answers.map(|answer| answer.member.as_str()).take(9).collect();
    if members.len() == 9 {
        members[8] = "…";
    }
    members.join(", ")
}

/// Text cut to what fits on a line.
fn cut(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

/// What to try next; each line works as it is printed, in the folder of the checkout.
pub(super) fn what_next(code: &str, total: u32) {
    println!(
        r#"
Try next:
  eval "$(scripts/stack env)" && issuer-api coupon set-total {code} {total} --by me
  curl -i -X POST -H "Authorization: Bearer $(coupon-demo token alice)" \
    $ISSUER_API_URL/api/v1/coupons/{code}/issues    # alice takes the one more coupon
  dlq-consumer list             # the work list: member 10's request waits for a look
  make status; make logs        # what runs, and what it has said
  make down                     # stops it all"#
    );
}

fn seconds(time: chrono::TimeDelta) -> String {
    format!("+{}.{:03} s", time.num_seconds().max(0), time.num_milliseconds().max(0) % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_several_places_are_told_in_the_order_of_their_times() {
        let at = |ms| DateTime::from_timestamp_millis(ms).expect("a time");
        let read = vec![
            (at(2), "Redis", String::new()),
            (at(1), "dlq-consumer", String::new()),
            (at(2), "PostgreSQL", String::new()),
        ];
        let told: Vec<_> = in_order(read).iter().map(|(_, place, _)| *place).collect();
        assert_eq!(told, ["dlq-consumer", "Redis", "PostgreSQL"]);
    }

    #[test]
    fn numbers_and_texts_fit_the_screen() {
        assert_eq!(count(5000), "5,000");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(seconds(chrono::TimeDelta::milliseconds(1005)), "+1.005 s");
    }
}
