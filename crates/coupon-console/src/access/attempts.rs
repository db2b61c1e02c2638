//! A bound on what an address may cause in a minute, so that nobody can try tokens by the thousand, keep PostgreSQL busy with them,
//! or fill the audit.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Length of the window.
const WINDOW: Duration = Duration::from_mins(1);
/// Addresses that are remembered; beyond them all share one count.
const MAX_ADDRESSES: usize = 10_000;

/// The attempts of the last minute, by address.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Most attempts of one address in a window.
    of_one: u32,
    /// Most attempts of all addresses in a window.
    of_all: u32,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Begin of the window and number, of each address; `None`: of those that are not remembered or not known.
    by_address: HashMap<Option<IpAddr>, (Instant, u32)>,
    all: Option<(Instant, u32)>,
}

impl Attempts {
    /// No attempts yet, and so many within a minute.
    pub(crate) fn at_most(of_one: u32, of_all: u32) -> Self {
        Self { of_one, of_all, counts: Mutex::default() }
    }

    /// Counts an attempt, and returns whether it may be made.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> bool {
        let address = address.map(counted);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { by_address, all } = &mut *counts;
        let now = Instant::now();
        let is_over = |began: Instant| now.duration_since(began) >= WINDOW;
        by_address.retain(|_, (began, _)| !is_over(*began));
        let is_known = by_address.contains_key(&address) || by_address.len() < MAX_ADDRESSES;
        let (_, count) = by_address.entry(address.filter(|_| is_known)).or_insert((now, 0));
        *count += 1;
        if *count > self.of_one {
            return false;
        }
        all.take_if(|(began, _)| is_over(*began));
        let (_, count) = all.get_or_insert((now, 0));
        *count += 1;
        *count <= self.of_all
    }
}

/// Returns what counts as one address: of IPv6 the network of 64 bits, because whoever has one of its addresses has them all.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_attempt_of_an_address_is_refused_and_others_are_not() {
        let attempts = Attempts::at_most(10, u32::MAX);
        let [one, other] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        assert!((0..10).all(|_| attempts.admit(one)));
        assert!(!attempts.admit(one));
        assert!(attempts.admit(other));
    }

    #[test]
    fn many_addresses_have_a_bound_together_that_one_alone_does_not_use_up() {
        let attempts = Attempts::at_most(2, 3);
        let [one, other, third] = [1, 2, 3].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        assert_eq!([one; 4].map(|address| attempts.admit(address)), [true, true, false, false]);
        assert!(attempts.admit(other));
        assert!(!attempts.admit(third), "three in all");
    }
    #[test]
    fn all_addresses_of_one_ipv6_network_share_their_attempts() {
        let attempts = Attempts::at_most(10, u32::MAX);
        let of = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert!((0..10).all(|host| attempts.admit(of(&format!("2001:db8::{host:x}")))));
        assert!(!attempts.admit(of("2001:db8::ffff:1")));
        assert!(attempts.admit(of("2001:db8:0:1::1")) && attempts.admit(of("::ffff:10.0.0.1")));
    }
}
