#![doc = include_str!("../README.md")]
#![expect(clippy::disallowed_methods, reason = "the harness lives in the time of the machine")]

pub mod answers;
pub mod campaign;
pub mod chance;
pub mod console;
pub mod demo;
pub mod failures;
mod http;
pub mod identity;
pub mod kafka;
pub mod member;
pub mod oracle;
pub mod otlp;
pub mod process;
pub mod proxy;
mod report;
pub mod servers;
pub mod soak;
pub mod stock;
pub mod wait;
pub mod webhook;
pub mod world;
