//! Rows that operators work through, those of `failed_coupon_issues` and of `dlq_events`, chosen by one filter.

mod figures;
mod filter;
mod numbers;
mod settling;

pub use figures::*;
pub(super) use filter::{DLQ_EVENT_FILTER, FAILED_ISSUE_FILTER};
pub use filter::{Filter, List};
pub use numbers::*;
pub use settling::*;
