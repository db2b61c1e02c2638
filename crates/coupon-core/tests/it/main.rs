//! Tests of the rooms that speak to servers, on the real servers.

mod ledger;
mod poisoned;
mod servers;
mod stock_model;
