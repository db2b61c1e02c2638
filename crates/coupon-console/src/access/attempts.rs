//! A bound on logins, so that nobody can try tokens by the thousand or keep PostgreSQL busy with them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Attempts that one address has in a window.
const MAX_ATTEMPTS: u32 = 10;
/// Length of the window.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered; beyond them all share one count.
const MAX_ADDRESSES: usize = 10_000;

/// The logins of the last minute, by address.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<Option<IpAddr>, (Instant, u32)>>);

impl Attempts {
    /// Counts an attempt, and returns whether it may be made.
    pub(crate) fn admit(&self, address: IpAddr) -> bool {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        attempts.retain(|_, (began, _)| now.duration_since(*began) < WINDOW);
        let is_known = attempts.contains_key(&Some(address)) || attempts.len() < MAX_ADDRESSES;
        let (_, count) = attempts.entry(is_known.then_some(address)).or_insert((now, 0));
        *count += 1;
        *count <= MAX_ATTEMPTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_attempt_of_an_address_is_refused_and_others_are_not() {
        let (attempts, one, other) = (Attempts::default(), IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!((0..10).all(|_| attempts.admit(one)));
        assert!(!attempts.admit(one));
        assert!(attempts.admit(other));
    }
}
