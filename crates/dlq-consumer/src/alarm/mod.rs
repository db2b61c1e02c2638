//! Alarms: one of the replicas sends every dead letter and every notice, at once or in a digest.
//!
//! ```text
//! sender ─ claims a cause ─► alarm (masked, escaped) ─┬─► slack ──┐ the first that takes it
//!     ▲                                               └─► webhook ┘ when slack is down for long, or alone
//!     └─ notes it as sent, or lets it go until later    [CRITICAL] in the log, whatever becomes of it
//! ```
//!
//! Slack, the webhook and the log lay out one model, the `Alarm` of `view`. Arrows go one way:
//! `sender → round → channels → slack → view → classify | mask | settings`.

mod alarm_test;
mod channels;
mod classify;
mod compose;
mod log;
mod mask;
mod round;
mod sender;
mod settings;
mod slack;
mod unsent;
mod view;

pub use alarm_test::{TEST_EXAMPLES, Tested, alarm_test, channel_names, finding, send_test};
pub use channels::retry_after;
pub use log::{installation, log_compensated};
pub use sender::AlarmSender;
pub use settings::{AlarmSettings, is_base_url, web_address};
