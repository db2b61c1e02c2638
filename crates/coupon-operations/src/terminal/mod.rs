//! The kit of the command lines: who changes something and why, whether it is meant, progress, and how results are printed.

mod by;
pub mod confirm;
pub mod output;
mod progress;

pub use by::{ByArgs, counted, named, reason};
pub use output::Output;
pub use progress::Progress;
