#![doc = include_str!("../README.md")]

mod binaries;
pub mod cli;
mod drain;
mod environment;
mod figures;
mod machine;
mod measure;
mod place;
mod poison;
mod progress;
mod repair;
mod scale;
mod seed;
mod size;
