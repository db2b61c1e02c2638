//! What several measurements need: a process with its use of time and memory, a client that waits for Redis, what Redis
//! says of itself, and figures over rounds. Knows nothing of coupons.

pub mod client;
pub mod commands;
pub mod process;
pub mod redis_log;
pub mod servers;
pub mod spread;
pub mod usage;
