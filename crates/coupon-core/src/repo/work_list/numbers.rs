//! Numbers that carry their kind: `E403` is an entry of the work list, `D513` a dead letter.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::repo::work_list::filter::List;

/// Number of a row, with its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Kind.
    pub list: List,
    /// Number, from 1.
    pub id: i64,
}

/// A number as an operator types it: `E403`, `D513`, or a plain `403` of the kind that the command expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypedNumber {
    /// Kind, if it was typed.
    pub list: Option<List>,
    /// Number.
    pub id: i64,
}

/// A text that is no number of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a number such as E403 (an entry of the work list) or D513 (a dead letter)")]
pub struct NoNumber;

/// A number of the wrong kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is the number of {a}, and here {wanted} is meant", a = .0.list.one(), wanted = .1.one())]
pub struct WrongKind(pub Number, pub List);

impl List {
    /// Returns the first character of the numbers of this kind.
    pub fn prefix(self) -> char {
        match self {
            Self::Requests => 'E',
            Self::DlqEvents => 'D',
        }
    }

    /// Returns a row of this kind in words.
    pub fn one(self) -> &'static str {
        match self {
            Self::Requests => "an entry of the work list",
            Self::DlqEvents => "a dead letter",
        }
    }

    /// Returns the other kind.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Requests => Self::DlqEvents,
            Self::DlqEvents => Self::Requests,
        }
    }

    /// Returns the number of a row of this kind.
    pub fn number(self, id: i64) -> Number {
        Number { list: self, id }
    }
}

impl TypedNumber {
    /// Returns the number; a plain one is of this kind.
    pub fn or(self, list: List) -> Number {
        self.list.unwrap_or(list).number(self.id)
    }

    /// Returns the plain number, where only this kind is allowed.
    pub fn of(self, list: List) -> Result<i64, WrongKind> {
        match self.or(list) {
            number if number.list == list => Ok(number.id),
            other => Err(WrongKind(other, list)),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}{}", self.list.prefix(), self.id))
    }
}

impl FromStr for TypedNumber {
    type Err = NoNumber;

    fn from_str(text: &str) -> Result<Self, NoNumber> {
        let kind = [List::Requests, List::DlqEvents]
            .into_iter()
            .find(|list| text.chars().next().is_some_and(|first| first.eq_ignore_ascii_case(&list.prefix())));
        let digits = if kind.is_some() { &text[1..] } else { text };
        let id = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
        Ok(Self { list: kind, id: id.ok_or(NoNumber)? })
    }
}

/// Both forms: `id` for programs, `number` for operators.
#[derive(Serialize)]
struct Both {
    id: i64,
    number: String,
}

/// Serializes the id of an entry as `id` and `number`; the field is flattened.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(in crate::repo) fn serialize_entry_id<S: Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Both { id: *id, number: List::Requests.number(*id).to_string() }.serialize(serializer)
}

/// Serializes the id of a dead letter as `id` and `number`; the field is flattened.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(in crate::repo) fn serialize_dlq_event_id<S: Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Both { id: *id, number: List::DlqEvents.number(*id).to_string() }.serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_carries_its_kind_and_the_wrong_one_is_refused() {
        let typed = |text: &str| text.parse::<TypedNumber>();
        assert_eq!(List::Requests.number(403).to_string(), "E403");
        assert_eq!(typed("E403").unwrap().of(List::Requests), Ok(403));
        assert_eq!(typed("d513").unwrap().of(List::DlqEvents), Ok(513));
        assert_eq!(typed("513").unwrap().of(List::DlqEvents), Ok(513));
        let wrong = typed("D513").unwrap().of(List::Requests).unwrap_err().to_string();
        assert_eq!(wrong, "D513 is the number of a dead letter, and here an entry of the work list is meant");
        for text in ["", "E", "X5", "-5", "E-5", "+5", "5E", "E 5", "€5", "99999999999999999999"] {
            assert_eq!(typed(text), Err(NoNumber), "{text}");
        }
    }
}
