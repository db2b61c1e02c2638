//! How many requests may be compensated: a token bucket for each coupon and error. Holds no I/O.
//!
//! A faulty deployment must not revoke a whole campaign: what is above the budget is held, not decided.

use chrono::{DateTime, Utc};

/// Limit on compensations for each coupon and error ([`Failure::budget`](crate::failure::Failure::budget); DESIGN: 100 at once,
/// then 1 a second).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Most compensations at once.
    pub burst: f64,
    /// Further compensations each second.
    pub per_second: f64,
}

/// What is left of a budget, and as of when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Compensations left; may be a fraction.
    pub tokens: f64,
    /// The time as of which `tokens` is right.
    pub refilled_at: DateTime<Utc>,
}

impl Budget {
    /// Takes one compensation from a bucket, a full one if there is none yet, after refilling it for the time gone by.
    /// `None` when less than one is left; the bucket then stays as it was.
    ///
    /// A clock that went back refills nothing and takes nothing away.
    pub fn spend(&self, bucket: Option<Bucket>, now: DateTime<Utc>) -> Option<Bucket> {
        let before = bucket.unwrap_or(Bucket { tokens: self.burst, refilled_at: now });
        let seconds = (now - before.refilled_at).as_seconds_f64().max(0.0);
        let tokens = (before.tokens + self.per_second * seconds).min(self.burst);
        (tokens >= 1.0).then(|| Bucket { tokens: tokens - 1.0, refilled_at: before.refilled_at.max(now) })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        crate::clock::from_unix_ms(1_760_000_000_000 + ms)
    }

    #[test]
    fn the_burst_is_spent_at_once_and_time_brings_one_after_the_other() {
        let budget = Budget { burst: 3.0, per_second: 1.0 };
        let mut bucket = None;
        for _ in 0..3 {
            bucket = Some(budget.spend(bucket, at(0)).unwrap());
        }
        assert_eq!(budget.spend(bucket, at(999)), None);
        let bucket = budget.spend(bucket, at(1000));
        assert!(bucket.is_some() && budget.spend(bucket, at(1000)).is_none());
        assert_eq!(budget.spend(bucket, at(3_600_000)).map(|bucket| bucket.tokens), Some(2.0), "never above the burst");
    }

    proptest! {
        /// Whatever the clock does, no stretch of time sees more give-ups than the burst and what the time brings.
        #[test]
        fn no_stretch_of_time_sees_more_than_burst_and_refill(
            burst in 0.0f64..20.0,
            per_second in 0.0f64..5.0,
            steps in proptest::collection::vec(-2_000i64..2_000, 1..200),
        ) {
            let budget = Budget { burst, per_second };
            let (mut bucket, mut now, mut latest, mut spent) = (None, 0, 0, 0.0);
            for step in steps {
                now += step;
                latest = latest.max(now);
                if let Some(after) = budget.spend(bucket, at(now)) {
                    spent += 1.0;
                    prop_assert!(after.tokens >= 0.0 && after.tokens <= burst);
                    prop_assert!(bucket.is_none_or(|before: Bucket| after.refilled_at >= before.refilled_at));
                    bucket = Some(after);
                }
                // The first bucket is reckoned at the first moment, which may be behind the latest by a clock's step.
                let seconds = TimeDelta::milliseconds(latest + 2_000).as_seconds_f64();
                prop_assert!(spent <= burst + per_second * seconds + 1e-6, "{spent} in {seconds} s");
            }
        }
    }
}
