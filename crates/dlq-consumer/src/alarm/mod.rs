//! Alarms: somebody is told of every dead letter and every notice, at once or in a digest, by one of the replicas.
//!
//! ```text
//! announcer ─ claims a cause ─► alarm (masked, escaped) ─┬─► slack ──┐ the first that takes it
//!     ▲                                                  └─► webhook ┘ when slack is down for long, or alone
//!     └─ notes it as told, or lets it go until later       [CRITICAL] in the log, whatever becomes of it
//! ```

mod announcer;
mod channels;
mod critical;
mod mask;
mod payload;
mod post;
mod round;
pub mod settings;
mod signature;
mod slack;
mod test;
mod together;
mod view;

pub use announcer::Announcer;
pub use critical::{given_up, installation};
pub use test::{TEST_EXAMPLES, alarm_test, finding};
