#![doc = include_str!("../README.md")]

mod alarm;
pub mod cli;
pub mod config;
mod console;
mod dead_letter;
mod decision_relay;
mod doctor;
mod give_back_worker;
pub mod jobs;
mod metrics_help;
mod repair;
mod run;
mod webhooks;
