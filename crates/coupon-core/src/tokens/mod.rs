//! Signed tokens: of members, and of operators whom an identity provider vouches for. One algorithm, one key of that
//! algorithm's family, and every claim; keys from files and from the issuer, which change while the service runs.

mod claimed;
mod files;
mod issuer;
mod key_ring;
mod keys;
mod member;
mod settings;
mod token;
mod watch;

pub use keys::Key;
pub use member::MemberClaim;
pub use settings::TokenSettings;
pub use token::{ReadClaims, Signed, TokenError, Verifier};
pub use watch::watch;
