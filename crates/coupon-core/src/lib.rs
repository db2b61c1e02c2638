#![doc = include_str!("../README.md")]

pub mod budget;
mod clause;
pub mod clock;
pub mod contract;
pub mod crash;
pub mod decisions;
pub mod event;
pub mod failure;
pub mod filling;
pub mod ids;
pub mod kafka;
pub mod metrics_help;
pub mod repo;
pub mod retry;
pub mod runtime;
pub mod signing;
pub mod startup;
pub mod stock;
pub mod tokens;
pub mod words;
pub mod writing;
