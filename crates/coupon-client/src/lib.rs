#![doc = include_str!("../README.md")]

mod answer;
mod client;
mod error;
mod pace;
mod retry;
mod rules;
mod tokens;

pub use answer::{Ask, Issue, Outcome, State};
pub use client::{Client, Tries};
pub use error::{Error, Failure, Meaning, Problem};
pub use rules::Rules;
pub use tokens::Tokens;
