//! Plans: what a change of many rows would hit, shown before it is confirmed.

mod confirm;
mod make;
mod show;

pub(super) use confirm::{ConfirmForm, confirm};
pub(super) use make::{PlanForm, checked_rate, make, rate};
pub(super) use show::show;
