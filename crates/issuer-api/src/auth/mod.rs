//! Who is asking: the member that a verified token names, and nothing else.

mod files;
mod issuer;
mod key_ring;
mod keys;
mod refusals;
mod settings;
mod token;
mod watch;

pub use keys::Key;
pub use refusals::Refusals;
pub use settings::AuthSettings;
pub use token::{TokenError, Verifier};
pub use watch::watch;
