//! Redis: the reservation and everything else that is asked of it. The only module that knows the `redis` crate.
//!
//! Five keys to a coupon, all with its code as hash tag; the scripts under `lua/` say in their headers what each
//! does to them. There is no stock counter: what is left is `total` less the holder entries in the issued map.

mod advice;
mod call;
mod cluster;
mod connection;
mod dial;
mod error;
mod fill;
mod gate;
mod holder;
mod inspection;
mod keys;
mod link;
mod outbox;
mod refused;
mod rename;
mod reply;
mod reserve;
mod sentinel;
mod server;
mod settings;
mod slots;
mod waiting;

pub use connection::Stock;
pub use error::StockError;
pub use fill::{Fill, FillOutcome};
pub use gate::{GateOutcome, SetTotal, SetWindow};
pub use holder::{Holder, SoldOut};
pub use inspection::{DeleteOutcome, HolderPage, RepairOutcome, View};
pub use outbox::{OutboxEntry, OutboxListing};
pub use rename::RenameOutcome;
pub use reserve::{GiveBack, Held, MAX_RESERVATIONS, Refused, Reservation, Seen};
pub use settings::{RedisSettings, SentinelSettings};
