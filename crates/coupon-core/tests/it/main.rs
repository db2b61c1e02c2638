//! Tests of the rooms that speak to servers, on the real servers.
#![expect(clippy::disallowed_methods, reason = "a test lives in the time of the machine")]
#![expect(clippy::unwrap_used, reason = "a test that cannot get what it needs has failed")]

mod batches;
mod decision_traces;
mod decisions;
mod decisions_kept;
mod decisions_lowered;
mod holders;
mod ledger;
mod outages;
mod outbox;
mod personal_data;
mod plans;
mod poisoned;
mod requests_of_a_member;
mod schema;
mod servers;
mod sold_out;
mod statements;
mod stock_gate;
mod stock_model;
mod ways_away;
mod webhooks;
