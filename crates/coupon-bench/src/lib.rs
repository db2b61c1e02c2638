#![doc = include_str!("../README.md")]

mod accept;
mod bare;
mod binaries;
pub mod cli;
mod environment;
mod figures;
mod limits;
mod load;
mod machine;
mod measure;
mod place;
mod progress;
mod refuse;
mod repair;
