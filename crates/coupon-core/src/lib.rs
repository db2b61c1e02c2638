#![doc = include_str!("../README.md")]

pub mod budget;
pub mod clock;
pub mod crash;
pub mod diagnosis;
pub mod event;
pub mod failure;
pub mod filling;
pub mod ids;
pub mod kafka;
pub mod repo;
pub mod retry;
pub mod runtime;
pub mod startup;
pub mod stock;
pub mod words;
pub mod writing;
