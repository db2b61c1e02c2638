//! The columns and fields of rows that several verbs print.

pub mod dead_letters;
pub mod entries;
pub mod figures;
