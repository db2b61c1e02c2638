#![doc = include_str!("../README.md")]

mod alarm;
pub mod cli;
pub mod config;
mod doctor;
mod letter;
mod repair;
mod run;
mod sweep;
pub mod upgrade;
mod work_list;
