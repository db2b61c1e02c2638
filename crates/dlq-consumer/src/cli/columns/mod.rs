//! The columns of what is printed.

pub mod entries;
pub mod figures;
pub mod letters;
