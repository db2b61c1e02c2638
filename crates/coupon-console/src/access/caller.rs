//! Who asks, as the guard has found out, and in which form they want the answer.

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use coupon_core::repo::audit::{Identity, Login};

use super::Role;

/// The least role that sees members.
pub(crate) const SEES_MEMBERS: Role = Role::Support;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rendering {
    /// A page.
    Html,
    /// The same as JSON.
    Json,
}

/// The operator who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// Verified name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// How the name was verified.
    pub login: Login,
    /// Address that asks.
    pub source: String,
    /// SHA-256 of the session's cookie, where there is a session.
    pub session: Option<[u8; 32]>,
    /// The form of the answer.
    pub rendering: Rendering,
    /// The path that was asked for, without base path and suffix, and the query behind it.
    pub view: String,
}

impl Caller {
    /// Returns the operator for the audit of a change made for this reason.
    pub(crate) fn identity(&self, reason: &str) -> Identity {
        Identity {
            name: self.name.clone(),
            login: self.login,
            role: Some(self.role.as_str().to_owned()),
            source: Some(self.source.clone()),
            plan_id: None,
            reason: reason.to_owned(),
        }
    }

    /// Whether the operator has at least this role.
    pub(crate) fn may(&self, role: Role) -> bool {
        self.role >= role
    }

    /// Whether the operator sees members, and what operators wrote: such words may name one. `crate::mask` hides them.
    pub(crate) fn sees_members(&self) -> bool {
        self.may(SEES_MEMBERS)
    }

    /// Returns a member's id as this operator may see it: whole, or its first two characters.
    pub(crate) fn member(&self, id: &str) -> String {
        if self.sees_members() { id.to_owned() } else { mask(id) }
    }
}

/// Returns the first two characters of a member's id, at most a third of it, and `…`.
fn mask(id: &str) -> String {
    let shown = (id.chars().count() / 3).min(2);
    id.chars().take(shown).chain(['…']).collect()
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // Only a route outside the guard has none.
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn a_masked_member_shows_at_most_a_third() {
        assert_eq!((mask("alice-0001").as_str(), mask("bob").as_str(), mask("x").as_str()), ("al…", "b…", "…"));
    }
}
