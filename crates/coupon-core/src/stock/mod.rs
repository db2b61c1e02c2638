//! The reservation: everything that is asked of Redis. The only module that knows the `redis` crate.
//!
//! Four keys to a coupon, all with its code as hash tag; the scripts under `lua/` say in their headers what each
//! does to them. There is no stock counter: what is left is `total` less the marks in the issued map.

mod connection;
mod error;
mod gate;
mod holder;
mod inspection;
mod keys;
mod line;
mod outbox;
mod reply;
mod reserve;
mod server;

pub use connection::{RedisSettings, Stock};
pub use error::StockError;
pub use gate::{Fill, FillOutcome, GateOutcome, SetTotal, SetWindow, View};
pub use holder::{Holder, SoldOut};
pub use inspection::{Forgotten, Marks, Mended};
pub use outbox::{OutboxEntry, OutboxListing};
pub use reserve::{GiveBack, Held, Refused, Reservation, Seen};
