//! What more machines do not help: a coupon lives on one shard of Redis and has one row with its counter.

use super::{costs::Costs, peak::Peak};
use crate::figures::{Unit, whole};

/// Requests a second that one coupon can have: what one thread of Redis does, used up to the target.
pub fn of_one_coupon(costs: &Costs, peak: &Peak) -> f64 {
    let requests = f64::from(peak.requests);
    let mean = (peak.accepted() * costs.redis_accept + peak.refused() * costs.redis_refuse()) / requests;
    peak.target / 100.0 / mean * 1e6
}

/// Returns a sentence for each limit of one coupon that the peak exceeds, possible or measured; none if it exceeds none.
pub fn exceeded(costs: &Costs, peak: &Peak) -> Vec<String> {
    let campaigns = f64::from(peak.campaigns);
    let per_second = |value| Unit::PerSecond.text(value);
    let mut exceeded = Vec::new();
    let (asked, possible) = (f64::from(peak.requests) / peak.within / campaigns, of_one_coupon(costs, peak));
    if asked > possible {
        let longer = f64::from(peak.requests) / campaigns / possible;
        exceeded.push(format!(
            "Redis: a coupon lives on one shard, which answers {} requests, and each coupon is asked {}. Its {} units are gone \
             after {longer:.1} s, and no machine makes that less; coupons on one shard add up",
            per_second(possible),
            per_second(asked),
            whole(peak.accepted() / campaigns)
        ));
    }
    let rows = peak.accepted() / campaigns / peak.drain_within;
    if let Some(seen) = costs.coupon_rows.filter(|seen| rows > *seen) {
        exceeded.push(format!(
            "PostgreSQL: all rows of a coupon raise one counter, {} rows have been seen to, and each coupon is to have {}. \
             Beyond that nothing is known; give the drain {:.0} s",
            per_second(seen),
            per_second(rows),
            (peak.accepted() / campaigns / seen).ceil()
        ));
    }
    exceeded
}

#[cfg(test)]
mod tests {
    use super::{
        super::{costs::tests::costs, peak::tests::peak},
        *,
    };

    #[test]
    fn a_coupon_has_one_shard_and_one_counter() {
        // A request takes 0.1 × 14 + 0.9 × 7 = 7.7 µs on average; half of a thread does 64,935 a second.
        assert!((of_one_coupon(&costs(), &peak()) - 64_935.06).abs() < 0.01);
        let told = exceeded(&costs(), &peak());
        assert_eq!(told.len(), 1, "2,500 rows a second of a coupon are fewer than 20,000: {told:?}");
        // 250,000 requests of one coupon at 64,935 a second take 3.85 s.
        assert!(told[0].contains("64.9 k/s") && told[0].contains("250 k/s"), "{told:?}");
        assert!(told[0].contains("Its 25,000 units are gone after 3.9 s"), "{told:?}");
    }

    #[test]
    fn the_counter_is_told_where_it_was_never_seen_to_go_so_fast() {
        let peak = Peak { campaigns: 16, drain_within: 0.25, ..peak() };
        let told = exceeded(&costs(), &peak);
        // 100,000 rows of 16 coupons in a quarter of a second are 25,000 a second of each.
        assert!(told.len() == 1 && told[0].contains("25.0 k/s"), "{told:?}");
        assert!(told[0].ends_with("give the drain 1 s"), "{told:?}");
        assert_eq!(exceeded(&costs(), &Peak { drain_within: 1.0, ..peak }), Vec::<String>::new());
    }
}
