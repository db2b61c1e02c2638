//! What the circuit breakers of an engine say of themselves: to whoever shows it, and as a gauge.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Utc};
use serde::Serialize;

/// The states of the circuit breakers of one engine. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct BreakerStates(Arc<Mutex<BTreeMap<&'static str, Option<Outage>>>>);

/// Why a circuit breaker is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// Since when the dependency is waited for.
    pub since: DateTime<Utc>,
    /// What was seen of it.
    pub why: String,
}

/// One circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerState {
    /// The dependency.
    pub dependency: &'static str,
    /// Why it is open; `None`: it is closed.
    pub open: Option<Outage>,
}

impl BreakerStates {
    /// Returns every circuit breaker, by the name of its dependency; none before the engine has begun.
    pub fn all(&self) -> Vec<BreakerState> {
        let states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        states.iter().map(|(dependency, open)| BreakerState { dependency, open: open.clone() }).collect()
    }

    pub(super) fn closed(&self, dependency: &'static str) {
        self.set(dependency, None);
    }

    pub(super) fn opened(&self, dependency: &'static str, since: DateTime<Utc>, why: &str) {
        self.set(dependency, Some(Outage { since, why: why.to_owned() }));
    }

    fn set(&self, dependency: &'static str, open: Option<Outage>) {
        metrics::gauge!("coupon_breaker_open", "dependency" => dependency).set(u32::from(open.is_some()));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(dependency, open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_show_what_is_open_and_what_is_closed_again() {
        let states = BreakerStates::default();
        let shown = states.clone();
        assert!(shown.all().is_empty());
        states.closed("kafka");
        states.opened("postgresql", DateTime::UNIX_EPOCH, "refused");
        let open = |shown: &BreakerStates| shown.all().into_iter().map(|of| of.open.is_some()).collect::<Vec<_>>();
        assert_eq!(open(&shown), [false, true]);
        states.closed("postgresql");
        assert_eq!(open(&shown), [false, false]);
    }
}
