#![doc = include_str!("../README.md")]

pub mod archive;
pub mod barrier;
pub mod campaigns;
pub mod lookups;
mod operations;
pub mod rebuild;
pub mod reconcile;
pub mod replay;
pub mod retention;
pub mod terminal;
pub mod work_list;

pub(crate) use operations::server_errors;
pub use operations::{Operations, OperationsError};
