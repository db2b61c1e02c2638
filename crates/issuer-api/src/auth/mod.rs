//! Who is asking: the member that a verified token names, and nothing else.

mod refusals;
mod settings;

use coupon_core::tokens::{self, MemberClaim};

pub use refusals::Refusals;
pub use settings::AuthSettings;
pub use tokens::{Key, TokenError, watch};

/// Verifies the tokens of members.
pub type Verifier = tokens::Verifier<MemberClaim>;
