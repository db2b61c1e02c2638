//! Tests of the rooms that speak to servers, on the real servers.
#![expect(clippy::unwrap_used, reason = "a test that cannot get what it needs has failed")]

mod batches;
mod ledger;
mod outages;
mod poisoned;
mod servers;
mod sold_out;
mod statements;
mod stock_model;
