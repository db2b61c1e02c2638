//! Readiness: the conditions a service waits for, each with the reason it is not met.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Shutdown;

/// What `/readyz` answers from. Ready only when at least one required condition is registered, all that are
/// required are met, and the stop has not begun; so a service that is still booting is not ready either.
/// Register all conditions before reporting the first one ready.
#[derive(Clone, Debug)]
pub struct Health {
    conditions: Arc<Mutex<Vec<ConditionReport>>>,
    shutdown: Shutdown,
}

impl Health {
    /// A health without conditions, which is not ready.
    pub fn new(shutdown: Shutdown) -> Health {
        Health { conditions: Arc::default(), shutdown }
    }

    /// Registers a condition, unready with the reason `starting`. A name that exists already gives
    /// the condition there is, unchanged.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.register(name, true)
    }

    /// Registers a condition that `/readyz` and the log name while it is not met, and without which
    /// the service is ready all the same.
    pub fn watched(&self, name: &'static str) -> Condition {
        self.register(name, false)
    }

    fn register(&self, name: &'static str, required: bool) -> Condition {
        let mut conditions = self.lock();
        let index = conditions.iter().position(|condition| condition.name == name).unwrap_or_else(|| {
            conditions.push(ConditionReport::unmet(name, required, "starting"));
            conditions.len() - 1
        });
        Condition { health: self.clone(), index }
    }

    /// Every condition, and whether the service is ready.
    pub fn report(&self) -> Report {
        let mut conditions = self.lock().clone();
        if self.shutdown.is_stopping() {
            conditions.push(ConditionReport::unmet("shutdown", true, "stopping"));
        }
        let mut required = conditions.iter().filter(|condition| condition.required).peekable();
        let ready = required.peek().is_some() && required.all(|condition| condition.ready);
        Report { ready, conditions }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ConditionReport>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thing a service needs, such as `kafka`.
#[derive(Clone, Debug)]
pub struct Condition {
    health: Health,
    index: usize,
}

impl Condition {
    /// The condition is met. A change is logged.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The condition is not met, in words an operator understands. A change from met is logged.
    pub fn unready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    fn set(&self, missing: Option<String>) {
        let mut conditions = self.health.lock();
        let Some(condition) = conditions.get_mut(self.index) else {
            return;
        };
        let (name, before) = (condition.name, condition.ready);
        condition.ready = missing.is_none();
        condition.reason.clone_from(&missing);
        drop(conditions);
        match missing {
            None if !before => tracing::info!(condition = name, "{name} is ready"),
            Some(reason) if before => {
                tracing::warn!(condition = name, "{name} is not ready: {reason}");
            }
            _ => {}
        }
    }
}

/// The body of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether requests or records should be sent here.
    pub ready: bool,
    /// Every condition, in the order of registration.
    pub conditions: Vec<ConditionReport>,
}

/// One condition in a [`Report`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionReport {
    /// Name of the condition.
    pub name: &'static str,
    /// Whether the service is not ready while the condition is not met.
    pub required: bool,
    /// Whether the condition is met.
    pub ready: bool,
    /// Why the condition is not met.
    pub reason: Option<String>,
}

impl ConditionReport {
    fn unmet(name: &'static str, required: bool, reason: &str) -> Self {
        Self { name, required, ready: false, reason: Some(reason.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_all_conditions_met_and_no_stop_begun() {
        let shutdown = Shutdown::new();
        let health = Health::new(shutdown.clone());
        assert!(!health.report().ready, "nothing registered yet");
        let early = Health::new(shutdown.clone());
        early.watched("key refresh").ready();
        assert!(!early.report().ready, "nothing required is registered yet");
        let (redis, kafka) = (health.condition("redis"), health.condition("kafka"));
        assert_eq!(health.report().conditions[1].reason.as_deref(), Some("starting"));
        redis.ready();
        assert!(!health.report().ready, "kafka still starts");
        health.condition("kafka").ready();
        assert!(health.report().ready);
        kafka.unready("broker 127.0.0.1:9092 refuses connections");
        let report = health.report();
        assert_eq!(report.conditions[1].reason.as_deref(), Some("broker 127.0.0.1:9092 refuses connections"));
        assert!(!report.ready);
        kafka.ready();
        let watched = health.watched("lag");
        watched.unready("behind");
        let report = health.report();
        assert!(report.ready, "what is only watched is named and keeps nobody away");
        assert_eq!(report.conditions[2].reason.as_deref(), Some("behind"));
        shutdown.begin("a test");
        assert!(!health.report().ready, "stopping");
    }
}
