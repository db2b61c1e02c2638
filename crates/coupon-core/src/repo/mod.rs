//! Everything that is asked of PostgreSQL: the only SQL, and the only module that knows the `sqlx` crate.
//!
//! Absent is `Ok(None)`; a change of state is guarded in its `WHERE` and checked by the affected rows; time and ids
//! are parameters. Database work runs in tasks that nobody cancels (see [`Database`]).

pub mod alarms;
pub mod audit;
pub mod coupons;
pub mod dead_letters;
mod error;
pub mod failed_issues;
pub mod figures;
pub mod filter;
pub mod give_backs;
pub mod give_ups;
pub mod held_letters;
pub mod issues;
pub mod locks;
pub mod lookups;
pub mod numbers;
mod pool;
mod probe;
pub mod rebuilds;
pub mod reconciliations;
pub mod replay_jobs;
pub mod replays;
pub mod retention;
pub mod schema;
mod server;
pub mod settling;
pub mod totals;
pub mod windows;

pub use error::{RepoError, may_be_the_records_doing};
pub use pool::{Database, DatabaseSettings};
pub use probe::Rehearsal;
