//! The events that wait to be written: all computed from their number, so that what was written can be checked against
//! what was meant.

use anyhow::{Context, Result};
use chrono::Utc;
use coupon_core::event::{CouponIssued, VERSION};

use crate::seed::{
    CODE,
    members::{Members, Reservation},
};

/// Of so many events in a row one can never be written, if any.
pub const ONE_IN: u64 = 100;

/// How the name of a member ends whose coupon can never be written: among the others in the order of a batch, too.
pub const POISON: &str = "-poison";

/// Events of distinct members, dealt out to the coupons in turn.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Members, one of each event.
    pub members: Members,
    /// Number of coupons that the events are spread over.
    pub coupons: u64,
    is_poisoned: bool,
}

impl Load {
    /// Makes a load of events of new members, in turn over the coupons.
    pub fn of(events: u32, coupons: u64) -> Self {
        Self { members: Members::until(Utc::now(), events), coupons, is_poisoned: false }
    }

    /// Events of these members, all for one coupon.
    pub fn of_members(members: Members) -> Self {
        Self { members, coupons: 1, is_poisoned: false }
    }

    /// The same events, of which one in a hundred can never be written.
    pub fn poisoned(self) -> Self {
        Self { is_poisoned: true, ..self }
    }

    /// Returns the number of events.
    pub fn events(&self) -> u64 {
        self.members.count
    }

    /// Returns the number of events that can be written.
    pub fn healthy(&self) -> u64 {
        (0..self.events()).filter(|number| !self.is_poison(*number)).count() as u64
    }

    /// Rows that the coupon had before any of these events.
    pub fn before(&self) -> u64 {
        self.members.before()
    }

    /// Whether the event of this number can never be written.
    pub fn is_poison(&self, number: u64) -> bool {
        self.is_poisoned && number % ONE_IN == ONE_IN / 2
    }

    /// The coupon of an event, from 0.
    pub fn coupon_of(&self, number: u64) -> u64 {
        number % self.coupons
    }

    /// Returns the code of a coupon.
    pub fn code(&self, coupon: u64) -> String {
        if self.coupons == 1 { CODE.to_owned() } else { format!("{CODE}-{coupon:03}") }
    }

    /// Member, request id and sequence of an event.
    pub fn reservation(&self, number: u64) -> Reservation {
        let Reservation { member, request_id, .. } = self.members.reservation(number);
        let member = if self.is_poison(number) { format!("{member}{POISON}") } else { member };
        Reservation { member, request_id, seq: self.before() + number / self.coupons + 1 }
    }

    /// The event as `issuer-api` publishes it: its key, and its value.
    pub fn record(&self, number: u64) -> Result<(String, Vec<u8>)> {
        let one = self.reservation(number);
        let event = CouponIssued {
            version: VERSION,
            request_id: one.request_id.into(),
            coupon_code: self.code(self.coupon_of(number)).parse().context("the code of a coupon")?,
            member_id: one.member.parse().context("the name of a member")?,
            reserved_at: self.members.reserved_at(number).timestamp_millis(),
            epoch: 1,
            seq: i64::try_from(one.seq)?,
            traceparent: None,
        };
        Ok((one.member, event.encode()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_is_poison_and_the_rest_stays_the_same() {
        let load = Load::of(1000, 3);
        let poisoned = load.poisoned();
        let changed: Vec<u64> =
            (0..1000).filter(|number| load.reservation(*number) != poisoned.reservation(*number)).collect();
        assert_eq!(changed.len(), 10);
        assert!(changed.iter().all(|number| poisoned.reservation(*number).member.ends_with(POISON)));
        assert_eq!((load.healthy(), poisoned.healthy()), (1000, 990));
    }

    #[test]
    fn a_record_is_what_the_consumer_reads() {
        let load = Load::of(1000, 2);
        let (key, value) = load.record(3).unwrap();
        let event = CouponIssued::decode(Some(&value), VERSION).unwrap();
        assert_eq!((event.member_id.as_str(), event.coupon_code.as_str(), event.seq), (key.as_str(), "BENCH-001", 2));
    }
}
