//! The checks, one file for each question.

mod agreement;
mod decision;
mod events;
mod promise;
mod records;
pub(super) mod stock;

use super::{evidence::Evidence, violation::Violation};

/// Returns every violation, in the order of the promises.
pub(super) fn all(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    for check in [stock::check, promise::check, agreement::check, decision::check, records::check, events::check] {
        found.extend(check(evidence));
    }
    found.sort();
    found
}
