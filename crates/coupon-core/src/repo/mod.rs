//! Everything that is asked of PostgreSQL: the only SQL, and the only module that knows the `sqlx` crate.
//!
//! Absent is `Ok(None)`; a change of state is guarded in its `WHERE` and checked by the affected rows; time and ids
//! are parameters. Database work runs in tasks that nobody cancels (see [`Database`]).

pub mod alarms;
pub mod coupons;
pub mod dead_letters;
mod error;
pub mod failed_issues;
pub mod filter;
pub mod give_backs;
pub mod give_ups;
pub mod issues;
mod pool;
pub mod schema;

pub use error::{RepoError, may_be_the_records_doing};
pub use pool::{Database, DatabaseSettings};
