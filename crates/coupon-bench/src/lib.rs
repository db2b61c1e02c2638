#![doc = include_str!("../README.md")]

mod binaries;
pub mod cli;
mod environment;
mod figures;
mod machine;
mod measure;
mod place;
mod progress;
mod repair;
mod report;
