//! Members are hidden, and nothing that is stored can steer a terminal or forge a line.

use std::fmt::Write as _;

use coupon_core::repo::alarms::Sample;

use super::members;

/// Shorter names are shown whole by [`hidden`] anyway, and would be found everywhere.
const MIN_NAME_CHARACTERS: usize = 3;

/// Hides the members a dead letter names, wherever they stand in its texts.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    names: Vec<String>,
    is_on: bool,
}

impl Mask {
    /// Hides nothing.
    pub fn off() -> Self {
        Self::default()
    }

    /// Hides this member.
    pub fn of_member(member: &str) -> Self {
        Self::over([member.to_owned()])
    }

    /// Hides everybody this letter may name: its member, its key, and who its payload says it is about.
    pub fn of_letter(letter: &Sample) -> Self {
        let key = letter.record_key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
        let payload = letter.payload.as_deref().and_then(members::object);
        let named = payload.iter().flat_map(members::named_members);
        Self::over(letter.member_id.clone().into_iter().chain(key).chain(named))
    }

    fn over(names: impl IntoIterator<Item = String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for name in names.into_iter().filter(|name| name.chars().count() >= MIN_NAME_CHARACTERS) {
            // As an error shows it that quotes it.
            let quoted = format!("{name:?}");
            all.extend([quoted[1..quoted.len() - 1].to_owned(), name]);
        }
        // The longest first: one name may be part of another.
        all.sort_by_key(|name| std::cmp::Reverse(name.len()));
        all.dedup();
        Self { names: all, is_on: true }
    }

    /// Whether members are hidden.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// The text without the members' names.
    pub fn text(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, name| text.replace(name, &hidden(name)))
    }

    /// The name of a member, as it may be shown.
    pub fn member(&self, member: &str) -> String {
        if self.is_on { hidden(member) } else { member.to_owned() }
    }

    /// The text as it may be shown: see [`Mask::text`] and [`inert`].
    pub fn shown(&self, text: &str) -> String {
        inert(&self.text(text))
    }
}

/// The first two characters and nothing else, as [`coupon_core::ids::MemberId::masked`].
pub fn hidden(name: &str) -> String {
    let mut first: String = name.chars().take(2).collect();
    first.push_str("***");
    first
}

/// The text with control characters escaped, and with those that turn the direction of writing or take no room.
pub fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        let is_invisible = matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
        if character.is_control() || is_invisible {
            write!(shown, "{}", character.escape_default()).expect("a string takes every text");
        } else {
            shown.push(character);
        }
    }
    shown
}

/// At most so many characters, and whether there were more said with an ellipsis.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_hidden_in_every_text_also_where_it_is_quoted() {
        let mask = Mask::of_member("ev\"il\\one");
        let text = format!("for ev\"il\\one: invalid type: string {:?}, expected", "ev\"il\\one");
        assert_eq!(mask.text(&text), "for ev***: invalid type: string \"ev***\", expected");
        assert_eq!(Mask::of_member("alice").member("alice"), "al***");
        assert_eq!(Mask::of_member("10").text("10 of 10"), "10 of 10", "nothing of it would be hidden");
        assert_eq!(Mask::off().shown("alice"), "alice");
    }

    #[test]
    fn what_steers_a_terminal_or_turns_the_writing_is_shown_and_not_done() {
        assert_eq!(inert("a\x1b[31m\nb\u{9b}\u{202e}c 쿠폰"), "a\\u{1b}[31m\\nb\\u{9b}\\u{202e}c 쿠폰");
        assert_eq!(cut("쿠폰쿠폰", 2), "쿠폰…");
    }
}
