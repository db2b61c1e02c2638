//! Who asks, and what they may do.

mod assertion;
mod attempts;
mod caller;
mod denials;
mod guard;
mod login;
mod origin;
mod roles;
mod source;
mod verbs;

pub(crate) use assertion::Asserted;
pub use assertion::{AssertionSettings, AssertionVerifier};
pub(crate) use attempts::Attempts;
pub(crate) use caller::{Caller, Rendering, SEES_MEMBERS};
pub(crate) use denials::{DENIALS, Denial, Denials};
pub(crate) use guard::{Gate, guard, guard_login, rendering, secure, urlencode};
pub(crate) use login::{COOKIE, digest, new_secret};
pub use roles::Role;
pub(crate) use source::Proxies;
pub(crate) use verbs::Routes;
pub use verbs::{VERBS, Verb};
