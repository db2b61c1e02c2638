//! Alarms: one of the replicas sends every dead letter and every notice, at once or in a digest.
//!
//! ```text
//! sender ─ claims a cause ─► alarm (masked, escaped) ─┬─► slack ──┐ the first that takes it
//!     ▲                                               └─► webhook ┘ when slack is down for long, or alone
//!     └─ notes it as sent, or lets it go until later    [CRITICAL] in the log, whatever becomes of it
//! ```

mod anchors;
mod channels;
mod critical;
mod dead_letter_view;
mod logged;
mod mask;
mod members;
mod payload;
mod post;
mod round;
mod sender;
mod settings;
mod severity;
mod signature;
mod slack;
mod test;
mod together;
mod unsent;
mod view;
mod wording;

pub use critical::{given_up, installation};
pub use sender::AlarmSender;
pub use settings::AlarmSettings;
pub use test::{TEST_EXAMPLES, alarm_test, finding};
