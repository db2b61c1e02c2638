//! What operators do with requests that failed: everything behind their verbs.
//!
//! The command line parses, asks whether it is meant, and prints; nothing else. So a verb means the same wherever it is
//! given.

use std::sync::Arc;

use coupon_core::{
    clock::Clock,
    repo::{Database, coupons::Actor},
};

pub mod retention;
pub mod work_list;

/// Where operators work. Cheap to clone; serves many at once.
#[derive(Clone)]
pub struct Desk {
    /// The work list, the dead letters, the audit.
    pub database: Database,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Desk {
    /// Who changes something, now.
    pub fn actor(&self, name: &str) -> Actor {
        Actor { name: name.to_owned(), now: self.clock.now() }
    }
}
