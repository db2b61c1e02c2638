//! The members of the campaign and what each of them was given: all computed from the number of the reservation, so
//! that PostgreSQL and Redis can be filled apart from each other and checked against what was meant.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use uuid::{Builder, Uuid};

/// Reservations in each millisecond.
const RESERVATIONS_PER_MS: u64 = 50;

/// Distance of two members who reserved one after the other, less all rounds through their number. A prime above that
/// number, so that each member comes once; of these one that leaves a large rest for the numbers that are measured.
const STRIDE: u64 = 6_186_186_203;

/// So many members, and when the first of them reserved.
#[derive(Clone, Copy, Debug)]
pub struct Members {
    /// Number of members.
    pub count: u64,
    first: DateTime<Utc>,
    /// Set for members who come to a campaign after others.
    newcomers: Option<Newcomers>,
}

/// Members who come after others.
#[derive(Clone, Copy, Debug)]
struct Newcomers {
    /// Number of members before, among whose names these names spread.
    among: u64,
    /// Reservations of the coupon before these.
    before: u64,
    /// Number that tells these newcomers from all others.
    time: u32,
}

/// One member with its reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Member who holds the coupon.
    pub member: String,
    /// UUIDv7 of the moment of the reservation.
    pub request_id: Uuid,
    /// Sequence of the coupon, from 1.
    pub seq: u64,
}

impl Members {
    /// So many members, all of whom have reserved by now.
    pub fn until(now: DateTime<Utc>, count: u32) -> Self {
        let count = u64::from(count);
        let lasted = TimeDelta::milliseconds(i64::try_from(count / RESERVATIONS_PER_MS).unwrap_or(i64::MAX));
        // Redis tells the time in ms.
        let first = now.trunc_subsecs(3) - TimeDelta::minutes(1) - lasted;
        Self { count, first, newcomers: None }
    }

    /// So many others, whose names lie everywhere among these, after `before` reservations. Each time it is others.
    pub fn newcomers(&self, now: DateTime<Utc>, count: u32, before: u64, time: u32) -> Self {
        let newcomers = Some(Newcomers { among: self.count, before, time });
        Self { newcomers, ..Self::until(now, count) }
    }

    /// Reservations of the same coupon before theirs.
    pub fn before(&self) -> u64 {
        self.newcomers.map_or(0, |newcomers| newcomers.before)
    }

    /// The reservation of this number, from 0. The members come in no order, as they do to a campaign: one after the
    /// other would lie side by side in every index, and be read faster than they ever will be.
    pub fn reservation(&self, number: u64) -> Reservation {
        let among = self.newcomers.map_or(self.count, |newcomers| newcomers.among);
        let place = u128::from(number) * u128::from(STRIDE) % u128::from(among) + 1;
        let time = self.newcomers.map_or(0, |newcomers| u64::from(newcomers.time) + 1);
        let random = mixed(number + (time << 40)).to_be_bytes();
        let mut tail = [0; 10];
        tail[2..].copy_from_slice(&random);
        // In one millisecond the last digits of the number differ, so no two ids are the same.
        tail[..2].copy_from_slice(&(u16::try_from(number & 0xfff).unwrap_or(0)).to_be_bytes());
        let ms = u64::try_from(self.reserved_at(number).timestamp_millis()).unwrap_or(0);
        Reservation {
            member: match self.newcomers {
                None => format!("member-{place:08}"),
                Some(Newcomers { time, .. }) => format!("member-{place:08}.{time}.{number}"),
            },
            request_id: Builder::from_unix_timestamp_millis(ms, &tail).into_uuid(),
            seq: self.before() + number + 1,
        }
    }

    /// When the reservation of this number was made, to the millisecond.
    pub fn reserved_at(&self, number: u64) -> DateTime<Utc> {
        self.first + TimeDelta::milliseconds(i64::try_from(number / RESERVATIONS_PER_MS).unwrap_or(i64::MAX))
    }
}

/// Spreads a number over 64 bits, one to one: two multiplications by odd constants between shifts.
fn mixed(number: u64) -> u64 {
    let folded = |value: u64| value ^ (value >> 31);
    let once = folded(number.wrapping_add(1).wrapping_mul(0x_9e37_79b9_7f4a_7c15));
    folded(once.wrapping_mul(0x_bf58_476d_1ce4_e5b9))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_member_comes_once_with_a_request_id_of_its_own_and_in_the_order_of_time() {
        let now = Utc::now();
        for count in [1, 2, 1000, 12_345, 65_536] {
            let members = Members::until(now, count);
            let all: Vec<Reservation> = (0..members.count).map(|number| members.reservation(number)).collect();
            let names: HashSet<&str> = all.iter().map(|one| one.member.as_str()).collect();
            let ids: HashSet<Uuid> = all.iter().map(|one| one.request_id).collect();
            assert_eq!((names.len(), ids.len()), (all.len(), all.len()), "of {count}");
            assert!(names.contains("member-00000001") && names.contains(format!("member-{count:08}").as_str()));
            assert!(all.iter().all(|one| one.request_id.get_version_num() == 7));
            let ms = |id: Uuid| id.as_u128() >> 80;
            assert!(all.windows(2).all(|pair| ms(pair[0].request_id) <= ms(pair[1].request_id)));
            assert!(members.reserved_at(members.count - 1) < now);
        }
    }

    #[test]
    fn newcomers_are_others_each_time_and_lie_among_the_first_by_name() {
        let first = Members::until(Utc::now(), 1000);
        let all: Vec<Reservation> =
            [first, first.newcomers(Utc::now(), 5000, 1000, 0), first.newcomers(Utc::now(), 5000, 6000, 1)]
                .iter()
                .flat_map(|members| (0..members.count).map(|number| members.reservation(number)))
                .collect();
        let names: HashSet<&str> = all.iter().map(|one| one.member.as_str()).collect();
        let ids: HashSet<Uuid> = all.iter().map(|one| one.request_id).collect();
        assert_eq!((names.len(), ids.len()), (11_000, 11_000));
        assert!(all.iter().zip(1..).all(|(one, seq)| one.seq == seq));
        let late = all[1000..].iter().filter(|one| one.member.as_str() < "member-00000501").count();
        assert_eq!(late, 5000, "half of them lie in the lower half");
    }

    #[test]
    fn neighbours_in_time_are_none_by_name() {
        let members = Members::until(Utc::now(), 1_000_000);
        let number = |one: &Reservation| one.member["member-".len()..].parse::<i64>().unwrap();
        let names: Vec<i64> = (0..1000).map(|one| number(&members.reservation(one))).collect();
        assert!(names.windows(2).all(|pair| (pair[0] - pair[1]).abs() > 1000));
    }
}
