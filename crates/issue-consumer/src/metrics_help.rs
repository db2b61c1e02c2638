//! The HELP texts of the metrics of this crate; those of the engine are in `coupon-core`.

use coupon_core::metrics_help::{MetricHelp, MetricKind::Counter};

/// The metrics that this crate records.
pub const HELP: &[MetricHelp] =
    &[(Counter, "coupon_dead_letters_written_total", "Dead letters that Kafka has acknowledged, by the error class.")];
