//! What a failure means for its record. The class is set once, where the driver is; what follows is decided elsewhere.

use std::{error::Error, fmt};

use crate::words::words;

/// Longest error text that is kept or sent on, in bytes (16 KiB).
pub const MAX_TEXT_BYTES: usize = 16 * 1024;

/// Longest error fingerprint, in bytes.
const MAX_CAUSE_BYTES: usize = 300;
/// What a name may stand between.
const QUOTES: [char; 3] = ['"', '`', '\''];
/// Behind these words PostgreSQL quotes parts of the schema, which it also sends as fields of their own, and no values. Those
/// that its words do not name so, `RepoError` puts before them.
const PARTS_OF_A_SCHEMA: [&str; 4] = ["constraint ", "column ", "relation ", "table "];
/// Longest identifier of PostgreSQL, in bytes.
const MAX_IDENTIFIER_BYTES: usize = 63;

words! {
    /// The decision a failure carries.
    pub enum Class as "error class" {
        /// The dependency is away, stuck or read-only: no attempt is charged, nothing is dead-lettered.
        Unavailable = "UNAVAILABLE",
        /// The dependency works and others are in the way: worth another try, never a verdict.
        Contended = "CONTENDED",
        /// Anything not known better, a panic included: an attempt, then the dead letter topic.
        Unknown = "UNKNOWN",
        /// Will fail the same way for ever: the dead letter topic at once.
        Permanent = "PERMANENT",
        /// The record itself cannot be read: the dead letter topic at once, never compensated by a machine.
        Malformed = "MALFORMED",
        /// This process stops or lost the partition: no failure, the record stays outstanding.
        Interrupted = "INTERRUPTED",
    }
}

impl Class {
    /// Whether what failed may lie in a single record: neither in the dependency nor in others that are in the way.
    pub fn may_lie_in_one_record(self) -> bool {
        matches!(self, Self::Unknown | Self::Permanent)
    }
}

/// An error with a class. Implemented beside each driver.
pub trait Classified: Error {
    /// Returns the class of the error, which decides what follows from it.
    fn class(&self) -> Class;
    /// Short stable code: an SQLSTATE, or a word in capitals of our own.
    fn code(&self) -> String;
    /// One sentence for a person: what was being done, and what went wrong. The outermost error often only says the
    /// first, so the one below it is added.
    fn summary(&self) -> String {
        match self.source() {
            Some(cause) => format!("{self}: {cause}"),
            None => self.to_string(),
        }
    }
}

/// A failure as it travels with a record: classified, and cut down to texts so that it can be stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Class of the failure, which decides what follows from it.
    pub class: Class,
    /// See [`Classified::code`].
    pub code: String,
    /// The outermost error in words, at most [`MAX_TEXT_BYTES`].
    pub message: String,
    /// The errors below it, outermost first, one a line, at most [`MAX_TEXT_BYTES`] together.
    pub chain: String,
    /// Whether the failure is known to be of this record alone: the next attempt is isolated.
    pub by_itself: bool,
}

impl Failure {
    /// A failure of our own making, with no other error below it.
    pub fn new(class: Class, code: &str, message: &str) -> Self {
        Self { class, code: code.to_owned(), message: cut(message), chain: String::new(), by_itself: false }
    }

    /// The same failure, known to be of this record alone.
    #[must_use]
    pub fn happened_by_itself(self) -> Self {
        Self { by_itself: true, ..self }
    }

    /// The error fingerprint, by which alarms are counted: class, code and message, without what differs from record to record.
    ///
    /// Quoted values and every word with a digit in it are replaced, so that `member "10"` and `member "11"`, or two
    /// request ids, have one fingerprint. Constraints, columns and tables stay as PostgreSQL names them: two constraints have
    /// two.
    pub fn cause(&self) -> String {
        self.fingerprint(&self.message)
    }

    /// The fingerprint of a record of this member, without the member's id, wherever an error names it as a word of its own: causes are
    /// shown to operators who may not see members. Ids of one or two bytes stay, because they are words of any sentence.
    pub fn cause_of(&self, member: &str) -> String {
        self.fingerprint(&without(&self.message, member))
    }

    fn fingerprint(&self, message: &str) -> String {
        format!("{} {} {}", self.class, self.code, normalised(message).0)
    }

    /// What compensations are budgeted by: class and code, and which constraint, column and table for data that the
    /// schema refuses. Not the words: those may name the record, and then every record had a budget of its own.
    pub fn budget(&self) -> String {
        let is_of_the_schema = self.code.starts_with("23");
        let parts = normalised(&self.message).1.into_iter().filter(|_| is_of_the_schema);
        [self.class.as_str(), &self.code].into_iter().chain(parts).collect::<Vec<_>>().join(" ")
    }
}

/// A message with `…` for each place where a member's id stands as a word of its own.
fn without(message: &str, member: &str) -> String {
    if member.len() < 3 {
        return message.to_owned();
    }
    let (mut text, mut rest) = (String::new(), message);
    while let Some(at) = rest.find(member) {
        let (before, after) = (&rest[..at], &rest[at + member.len()..]);
        let goes_on = |c: char| c.is_alphanumeric();
        let is_word = !before.ends_with(goes_on) && !after.starts_with(goes_on);
        text.push_str(before);
        text.push_str(if is_word { "…" } else { member });
        rest = after;
    }
    text.push_str(rest);
    text
}

/// A message without what differs from record to record, and the parts of the schema that it names.
fn normalised(message: &str) -> (String, Vec<&str>) {
    let (mut text, mut parts) = (String::new(), Vec::new());
    let mut rest = message;
    while let Some(first) = rest.chars().next().filter(|_| text.len() < MAX_CAUSE_BYTES) {
        let is_of_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        let quoted = QUOTES.contains(&first).then(|| rest[1..].find(first)).flatten();
        let end = match quoted {
            Some(at) => at + 2,
            None if is_of_word(first) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            None => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(end);
        let is_part = first == '"' && PARTS_OF_A_SCHEMA.iter().any(|part| text.ends_with(part));
        match quoted {
            Some(at) if is_part && at <= MAX_IDENTIFIER_BYTES => {
                text.push_str(piece);
                parts.push(&piece[1..=at]);
            }
            Some(_) => text.push('…'),
            None if piece.contains(|c: char| c.is_ascii_digit()) => text.push('#'),
            None => text.push_str(piece),
        }
        rest = after;
    }
    text.truncate(text.floor_char_boundary(MAX_CAUSE_BYTES));
    (text, parts)
}

impl<E: Classified> Classified for &E {
    fn class(&self) -> Class {
        (**self).class()
    }

    fn code(&self) -> String {
        (**self).code()
    }

    fn summary(&self) -> String {
        (**self).summary()
    }
}

/// So that `?` classifies an error where it becomes a failure.
impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut chain = Vec::new();
        let mut below = error.source();
        while let Some(cause) = below {
            chain.push(cause.to_string());
            below = cause.source();
        }
        Self {
            class: error.class(),
            code: error.code(),
            message: cut(&error.summary()),
            chain: cut(&chain.join("\n")),
            by_itself: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

/// The text cut at a character boundary to at most [`MAX_TEXT_BYTES`], without NUL, which PostgreSQL cannot store.
pub fn cut(text: &str) -> String {
    let mut kept = text[..text.floor_char_boundary(MAX_TEXT_BYTES)].replace('\0', "?");
    kept.shrink_to_fit();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_different_records_with_one_reason_have_one_cause() {
        let of = |message| Failure::new(Class::Unknown, "P0001", message).cause();
        assert_eq!(of("no coupon for member 10 today"), of("no coupon for member 111 today"));
        assert_eq!(of("bad \"alice\""), of("bad \"bob\""));
        assert_eq!(of("bad 'al-ice' here"), of("bad 'bob' here"));
        assert_eq!(
            of("cannot issue 018f3f5e-7b1a-7000-8000-00000000000a now"),
            of("cannot issue 0190ffff-aaaa-7bbb-8ccc-0123456789ab now")
        );
        assert_eq!(of("it doesn't fit"), "UNKNOWN P0001 it doesn't fit");
        assert_eq!(of("the relation of \"alice\""), of("the relation of \"bob\""));
        assert_ne!(of("disk on fire"), of("disk under water"));
    }

    #[test]
    fn a_cause_names_no_member_however_an_error_does() {
        let of = |member: &str| {
            let words = format!("no coupon for member {member}, or for {member}; {member}s batch");
            Failure::new(Class::Unknown, "P0001", &words).cause_of(member)
        };
        assert_eq!(
            of("zenobia@example.org"),
            "UNKNOWN P0001 no coupon for member …, or for …; zenobia@example.orgs batch"
        );
        let short = Failure::new(Class::Unknown, "P0001", "issue a batch");
        assert_eq!(short.cause_of("a"), short.cause());
    }

    /// The words of PostgreSQL itself, by the statement of a batch and by `coupon_issue_each`.
    #[test]
    fn two_constraints_are_two_causes_and_two_budgets_and_two_members_are_one() {
        let check = |name: &str| {
            let words = "postgresql: issue a batch: new row for relation \"coupon_issues\" violates check constraint";
            Failure::new(Class::Permanent, "23514", &format!("{words} \"{name}\""))
        };
        let (price, region) = (check("price_known"), check("region_known_2"));
        assert!(price.cause().ends_with("violates check constraint \"price_known\""), "{}", price.cause());
        assert_ne!(price.cause(), region.cause());
        assert_eq!(price.budget(), "PERMANENT 23514 coupon_issues price_known");
        assert_eq!(region.budget(), "PERMANENT 23514 coupon_issues region_known_2");
        let null = |column: &str| {
            let words = format!("null value in column \"{column}\" of relation \"r\" violates not-null constraint");
            Failure::new(Class::Permanent, "23502", &words)
        };
        assert_ne!(null("price").cause(), null("region").cause());
        assert_ne!(null("price").budget(), null("region").budget());
        let raised = |member: &str| {
            Failure::new(Class::Unknown, "P0001", &format!("no coupon of table \"{member}\" for \"{member}\""))
        };
        assert_eq!(
            raised("alice").budget(),
            raised("bob").budget(),
            "what a trigger says is none of PostgreSQL's words"
        );
        let value =
            |value: &str| Failure::new(Class::Permanent, "22P02", &format!("invalid input: \"{value}\"")).cause();
        assert_eq!(value("alice"), value("bob"));
    }

    #[test]
    fn texts_are_bounded_whatever_they_hold() {
        let long = "é\0".repeat(MAX_TEXT_BYTES);
        let kept = Failure::new(Class::Unknown, "X", &long);
        assert!(kept.message.len() <= MAX_TEXT_BYTES && !kept.message.contains('\0'));
        assert!(kept.cause().len() < 350);
    }
}
