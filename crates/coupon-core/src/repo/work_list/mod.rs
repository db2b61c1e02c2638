//! What an operator looks after: rows of `failed_coupon_issues` and of `dlq_events`, chosen by one filter.

mod figures;
mod filter;
mod numbers;
mod settling;

pub use figures::*;
pub use filter::Filter;
pub(super) use filter::{DLQ_EVENT_FILTER, FAILED_ISSUE_FILTER};
pub use numbers::*;
pub use settling::*;
