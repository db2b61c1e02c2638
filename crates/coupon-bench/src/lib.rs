#![doc = include_str!("../README.md")]

mod binaries;
pub mod cli;
mod environment;
mod figures;
mod instructions;
mod machine;
mod measure;
mod model;
mod place;
mod progress;
mod pure;
mod repair;
mod report;
