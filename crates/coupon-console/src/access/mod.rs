//! Who asks, and what they may do.

mod assertion;
mod attempts;
mod caller;
mod guard;
mod login;
mod origin;
mod roles;
mod verbs;

pub(crate) use assertion::Asserted;
pub use assertion::{AssertionSettings, AssertionVerifier};
pub(crate) use attempts::Attempts;
pub(crate) use caller::{Caller, Rendering};
pub(crate) use guard::{DENIALS, Gate, audit_denial, count_denial, guard, guard_login, rendering, secure, urlencode};
pub(crate) use login::{COOKIE, digest, new_secret};
pub use roles::Role;
pub(crate) use verbs::Routes;
pub use verbs::{VERBS, Verb};
