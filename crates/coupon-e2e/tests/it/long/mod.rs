//! What takes minutes: `make test-long` runs these, `make test` leaves them out.

mod client_outage;
mod damage;
mod killed;
mod many;
mod points;
mod promoted;
mod sweep;
mod sweep_alarms;
mod sweep_commands;
mod sweep_repair;
mod sweep_situations;
mod sweep_webhooks;
mod three_brokers;
mod upgraded;

pub(crate) use points::OF_ERASURE;
pub(crate) use sweep::ABORTED;
