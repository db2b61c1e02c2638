//! Rows that operators work through, those of `failed_coupon_issues` and of `dlq_events`, chosen by one filter.

mod causes;
mod claims;
mod figures;
mod filter;
mod notes;
mod numbers;
mod pages;
mod saved;
mod settling;

pub use causes::*;
pub use claims::*;
pub use figures::*;
pub(super) use filter::{DLQ_EVENT_FILTER, FAILED_ISSUE_FILTER};
pub use filter::{Filter, List};
pub use notes::*;
pub use numbers::*;
pub use pages::*;
pub use saved::*;
pub use settling::*;
