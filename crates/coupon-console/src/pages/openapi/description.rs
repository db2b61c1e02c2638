//! What the document says of a verb: a sentence, the fields that it reads, and what it answers.

use super::fields::Field;

/// A verb as the document describes it.
pub(super) struct Described {
    /// Name in the table of verbs.
    pub(super) verb: &'static str,
    /// What it does, in a sentence.
    pub(super) summary: &'static str,
    /// The fields of its query or its body.
    pub(super) input: fn() -> Vec<Field>,
    /// What it answers.
    pub(super) answer: Answer,
}

/// The answer of a verb.
pub(super) enum Answer {
    /// An object with these fields: name, and type of JSON Schema; `tile`: a part that fails alone; `?`: may be null.
    Fields(&'static [(&'static str, &'static str)]),
    /// A stream of this media type.
    Stream(&'static str),
}

/// Describes a verb that answers an object.
pub(super) const fn verb(
    verb: &'static str,
    summary: &'static str,
    input: fn() -> Vec<Field>,
    answer: &'static [(&'static str, &'static str)],
) -> Described {
    Described { verb, summary, input, answer: Answer::Fields(answer) }
}

/// Describes a verb that answers a stream.
pub(super) const fn stream(
    verb: &'static str,
    summary: &'static str,
    input: fn() -> Vec<Field>,
    kind: &'static str,
) -> Described {
    Described { verb, summary, input, answer: Answer::Stream(kind) }
}

/// Reads nothing.
pub(super) fn none() -> Vec<Field> {
    Vec::new()
}
