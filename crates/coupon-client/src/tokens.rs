//! What a member shows.

/// The token that names the member and, for a campaign that requires admission, the one of its waiting room. A text alone is the
/// member's.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    pub(crate) member: &'a str,
    pub(crate) admission: Option<&'a str>,
}

impl<'a> Tokens<'a> {
    /// The tokens of a member whom a waiting room has admitted.
    pub fn admitted(member: &'a str, admission: &'a str) -> Self {
        Self { member, admission: Some(admission) }
    }
}

impl<'a> From<&'a str> for Tokens<'a> {
    fn from(member: &'a str) -> Self {
        Self { member, admission: None }
    }
}

impl<'a> From<&'a String> for Tokens<'a> {
    fn from(member: &'a String) -> Self {
        member.as_str().into()
    }
}
