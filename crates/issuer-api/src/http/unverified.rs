//! Refusing who comes too late before the signature of the token is verified, which costs more than all the rest of a refusal.
//!
//! While a campaign is known to be sold out, the answer to somebody who holds nothing is the same whether the token is right or
//! forged. The rules that keep this from telling anybody who holds a coupon, and a holder from hearing that nothing is held,
//! stand in the README under "Unverified refusals".

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    body::{Body, HttpBody},
    extract::{Path, rejection::PathRejection},
    http::HeaderMap,
};
use coupon_core::ids::{CouponCode, MemberId};

use super::{Api, Problem, request};
use crate::sold_out::SoldOutCache;

/// Bits of the table of first requests: 4 MiB. A million first requests fill 3 % of it.
const BITS: u64 = 1 << 25;

/// Refuses first requests without verifying their tokens.
pub(super) struct Unverified {
    sold_out: Arc<SoldOutCache>,
    firsts: FirstRequests,
    refused: metrics::Counter,
}

impl Unverified {
    /// Refuses by this cache; nobody has asked yet.
    pub(super) fn new(sold_out: Arc<SoldOutCache>) -> Self {
        let refused = metrics::counter!("coupon_refused_unverified_total");
        refused.increment(0);
        Self { sold_out, firsts: FirstRequests::default(), refused }
    }

    fn refuse(&self) -> Problem {
        self.refused.increment(1);
        Problem::sold_out()
    }
}

/// Refuses a request by what its token claims. A member whose token had to be verified is returned; `None`: the request has to be worked
/// on as ever.
///
/// Whoever forges a token gets the same answer for a holder and for anybody else, so what is looked at first must not depend
/// on who holds a coupon.
pub(super) fn refuse(
    api: &Api,
    path: &Result<Path<String>, PathRejection>,
    headers: &HeaderMap,
    body: &Body,
) -> Option<Result<MemberId, Problem>> {
    let (unverified, verifier) = (api.unverified.as_ref()?, api.verifier.as_ref()?);
    let code: CouponCode = path.as_ref().ok()?.parse().ok()?;
    // First, because while there is stock no token is to be read twice.
    if !unverified.sold_out.is_known(&code) {
        return None;
    }
    // Whatever has another answer than SOLD_OUT is worked on as ever.
    if !body.is_end_stream()
        || api.is_held()
        || api.admission.as_ref().is_some_and(|asked| asked.may_be_required(&code))
    {
        return None;
    }
    let token = request::token(headers).ok()?;
    let member = verifier.claimed(token)?;
    let may_hold = unverified.sold_out.may_hold(&code, &member)?;
    if !unverified.firsts.is_first(&code, &member) {
        return None;
    }
    if !may_hold {
        return Some(Err(unverified.refuse()));
    }
    // Of what can be wrong only the signature is left, and a forged one is told what it would be told of anybody.
    Some(verifier.subject(token).map_err(|error| {
        api.refusals.count(error);
        unverified.refuse()
    }))
}

/// Which members have asked for which campaign: a bit for each. None is ever forgotten, because whoever can make a process
/// forget a member can measure as often as they like. Members that share a bit with another one are verified one request earlier.
#[derive(Default)]
struct FirstRequests {
    hashes: RandomState,
    /// Made when it is first needed.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl FirstRequests {
    /// Whether this member has surely not asked for this campaign yet; remembers the member.
    fn is_first(&self, code: &CouponCode, member: &MemberId) -> bool {
        let words = self.words.get_or_init(|| (0..BITS / 64).map(|_| AtomicU64::new(0)).collect());
        let bit = self.hashes.hash_one((code, member)) % BITS;
        let (word, mask) = (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64));
        words[word].fetch_or(mask, Ordering::Relaxed) & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_asks_for_a_campaign_for_the_first_time_once() {
        let firsts = FirstRequests::default();
        let is_first = |code: &str, member: &str| firsts.is_first(&code.parse().unwrap(), &member.parse().unwrap());
        assert!(is_first("A", "ann") && !is_first("A", "ann"));
        assert!(is_first("B", "ann") && is_first("A", "bob"));
        let fresh = (0..1_000).filter(|number| is_first("A", &format!("member-{number}"))).count();
        assert!(fresh >= 990, "{fresh} of 1000 members who never asked were first");
        let again = (0..1_000).filter(|number| is_first("A", &format!("member-{number}"))).count();
        assert_eq!(again, 0, "members who are not to be forgotten, however many ask");
    }
}
