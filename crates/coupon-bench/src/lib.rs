#![doc = include_str!("../README.md")]
#![expect(clippy::disallowed_methods, reason = "it measures in the time of the machine")]

mod accept;
mod bare;
mod browse;
pub mod cli;
mod decisions;
mod drain;
mod environment;
mod figures;
mod instructions;
mod limits;
mod load;
mod machine;
mod measure;
mod model;
mod poison;
mod progress;
mod pure;
mod refuse;
mod repair;
mod report;
mod rest;
mod rounds;
mod rows;
mod rush;
mod scale;
mod seed;
mod size;
mod tokens;
