#![doc = include_str!("../README.md")]

pub mod cli;
pub mod config;
mod metrics_help;
mod run;
mod write;
