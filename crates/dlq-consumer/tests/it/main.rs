//! Tests of this stage below the level of processes, on a real PostgreSQL.

mod upgrade;
