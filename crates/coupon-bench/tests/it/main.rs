//! The real `coupon-bench` on real servers, with programs in the place of `dlq-consumer` that go wrong.

mod accept;
mod bench;
mod model;
mod repair;
mod report;
mod rows;
