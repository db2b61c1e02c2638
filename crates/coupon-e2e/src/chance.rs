//! Chance that can be repeated.

use rand::{SeedableRng, rngs::StdRng};

/// A source of chance for one run. Its seed is printed, and taken from `COUPON_SEED` to repeat a run.
pub fn seeded(what: &str) -> StdRng {
    let given = std::env::var("COUPON_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(rand::random);
    println!("{what}: COUPON_SEED={seed} repeats this run");
    StdRng::seed_from_u64(seed)
}
