//! The names of the keys, in one place.

use crate::ids::CouponCode;

/// Set of the codes that have data in this Redis; in a cluster it lies on one node, and names the campaigns of all.
pub(super) const COUPONS: &str = "coupons";

/// The hash tag of the keys that a probe writes and deletes again: a code that no campaign can have.
pub(super) const PROBE_TAG: &str = "!";

/// Hash: status, window, total, epoch, sequence.
pub(super) fn meta(code: &CouponCode) -> String {
    of_tag(code.as_str(), "meta")
}

/// Hash: member id to request id.
pub(super) fn issued(code: &CouponCode) -> String {
    of_tag(code.as_str(), "issued")
}

/// Sorted set: outbox entries, scored by the time of the reservation.
pub(super) fn outbox(code: &CouponCode) -> String {
    of_tag(code.as_str(), "outbox")
}

/// String with an expiry: the process whose relay works on the outbox. The only key that may vanish by itself.
pub(super) fn relay_lease(code: &CouponCode) -> String {
    of_tag(code.as_str(), "relay")
}

/// Hash: code of a refusal to the number of requests, as far as the processes of issuer-api have counted them.
pub(super) fn refused(code: &CouponCode) -> String {
    of_tag(code.as_str(), "refused")
}

/// A key with this hash tag, which decides where it lies in a cluster. Built without `format!`, as each request needs three.
pub(super) fn of_tag(tag: &str, part: &str) -> String {
    ["coupon:{", tag, "}:", part].concat()
}
