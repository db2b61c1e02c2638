//! The layout of the demo on the screen.

use std::{env, path::Path};

use anyhow::Result;
use chrono::{DateTime, Utc};
use indicatif::HumanCount;

use crate::{
    answers::Answer,
    process::{binaries, logs::LogLine},
};

/// Width of the output, in columns.
const WIDTH: usize = 100;

/// A line of a story: when, how long after the line before, where, what.
pub(super) struct Timeline {
    before: Option<DateTime<Utc>>,
}

impl Timeline {
    /// A story that has not begun.
    pub fn new() -> Self {
        Self { before: None }
    }

    /// Tells what has happened somewhere.
    pub fn tell(&mut self, at: DateTime<Utc>, place: &str, what: &str) {
        let after = self.before.replace(at).map(|before| seconds(at - before)).unwrap_or_default();
        println!("  {}  {after:>8}  {place:<14}  {}", clock(at), cut(what, WIDTH - 42));
    }

    /// Tells of a failed attempt, as a consumer has logged it.
    pub fn tell_attempt(&mut self, place: &str, line: &LogLine) {
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
        self.tell(line.at().unwrap_or_default(), place, &what);
    }
}

/// Returns a time as `HH:MM:SS.mmm`.
pub(super) fn clock(at: DateTime<Utc>) -> String {
    at.format("%H:%M:%S%.3f").to_string()
}

/// A number with its thousands apart.
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

/// What to try next; each line works as it is printed, in the folder in which the demo was started.
pub(super) fn what_next(code: &str, total: u32) -> Result<()> {
    let folder = binaries::find("issuer-api")?;
    let here = env::current_dir()?;
    let folder = folder.parent().unwrap_or(Path::new("."));
    let folder = folder.strip_prefix(&here).unwrap_or(folder).display();
    println!(
        r#"
Try next:
  eval "$(scripts/stack env)" && {folder}/issuer-api coupon set-total {code} {total} --by me
  curl -i -X POST -H "Authorization: Bearer $({folder}/coupon-demo token alice)" \
    $ISSUER_API_URL/api/v1/coupons/{code}/issues    # alice takes the one more coupon
  {folder}/dlq-consumer list    # the work list: member 10's request waits for a look
  make status; make logs        # what runs, and what it has said
  make down                     # stops it all"#
    );
    Ok(())
}

fn seconds(time: chrono::TimeDelta) -> String {
    format!("+{}.{:03} s", time.num_seconds().max(0), time.num_milliseconds().max(0) % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_fit_the_screen() {
        assert_eq!(count(5000), "5,000");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
        assert_eq!(seconds(chrono::TimeDelta::milliseconds(1005)), "+1.005 s");
    }
}
