//! Tests of this stage below the level of processes, on a real PostgreSQL.
#![expect(clippy::disallowed_methods, reason = "a test lives in the time of the machine")]
#![expect(clippy::unwrap_used, reason = "a test that cannot get what it needs has failed")]

mod newer_versions;
