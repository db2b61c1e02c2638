//! The names of the keys, in one place.

use crate::ids::CouponCode;

/// Set of the codes that have data in this Redis.
pub(super) const COUPONS: &str = "coupons";

/// The keys that a probe writes and deletes again: a hash and a sorted set, of a code that no campaign can have.
pub(super) const PROBE: [&str; 2] = ["coupon:{!}:meta", "coupon:{!}:outbox"];

/// Hash: status, window, total, epoch, sequence.
pub(super) fn meta(code: &CouponCode) -> String {
    key(code, "meta")
}

/// Hash: member id to request id.
pub(super) fn issued(code: &CouponCode) -> String {
    key(code, "issued")
}

/// Sorted set: outbox entries, scored by the time of the reservation.
pub(super) fn outbox(code: &CouponCode) -> String {
    key(code, "outbox")
}

/// String with an expiry: the process whose relay works on the outbox. The only key that may vanish by itself.
pub(super) fn relay_lease(code: &CouponCode) -> String {
    key(code, "relay")
}

/// Built without `format!`, as each request needs three keys.
fn key(code: &CouponCode, part: &str) -> String {
    ["coupon:{", code.as_str(), "}:", part].concat()
}
