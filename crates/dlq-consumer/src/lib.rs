#![doc = include_str!("../README.md")]

mod announce;
pub mod cli;
pub mod config;
pub mod desk;
mod doctor;
mod letter;
mod repair;
mod retention;
mod run;
mod sweep;
mod tend;
pub mod upgrade;
