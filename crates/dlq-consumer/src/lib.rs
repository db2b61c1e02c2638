#![doc = include_str!("../README.md")]

mod alarm;
pub mod cli;
pub mod config;
pub mod desk;
mod doctor;
mod letter;
mod metrics_help;
mod repair;
mod retention;
mod run;
mod sweep;
mod tally;
mod tend;
pub mod upgrade;
