//! The HELP text of every metric on `/metrics`: the tables of the READMEs, shortened.

use crate::runtime::fleeting;

use self::MetricKind::{Counter, Gauge, Histogram};

/// What a metric is recorded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// The value of now.
    Gauge,
    /// Values spread over buckets, or a summary where the metric has none.
    Histogram,
}

/// Kind, name and HELP text of a metric.
pub type MetricHelp = (MetricKind, &'static str, &'static str);

/// What this crate records, in whichever binary.
const CORE: &[MetricHelp] = &[
    (Counter, "coupon_attempts_total", "Attempts that ended, by OK or the error class."),
    (Counter, "coupon_outcomes_total", "Events that PostgreSQL has answered, by what became of them."),
    (Histogram, "coupon_accept_to_row_seconds", "Seconds from the reservation to the row, of coupons issued now."),
    (Histogram, "coupon_batch_events", "Events of a batch, for each time it is written."),
    (Counter, "coupon_give_ups_failed_total", "Records whose last step failed after their last attempt; tried again."),
    (Gauge, "coupon_breaker_open", "1: the circuit breaker of the dependency is open."),
    (Counter, "coupon_events_unsigned_total", "Records without a signature, where there are keys to verify one."),
    (Counter, "coupon_events_forged_total", "Records consumed whose signature is none of ours, or by an unknown key."),
    (Counter, "coupon_partitions_rewound_total", "Partitions whose log was cut or made anew, and is read from there."),
    (Gauge, "coupon_auth_keys_stale_seconds", "Seconds since a source of keys could not be read; 0: all are."),
    (Gauge, "coupon_contract_findings", "Settings of a server that depart from the wanted ones, by severity."),
    (Gauge, "coupon_consumer_partitions", "Partitions assigned to this process."),
    (Gauge, "coupon_consumer_paused_partitions", "Partitions assigned to this process that are paused."),
    (Gauge, "coupon_consumer_outstanding_records", "Records taken in and not done."),
    (Gauge, "coupon_consumer_running_records", "Records being worked on."),
    (Gauge, "coupon_consumer_backoff_records", "Records that wait on a timer."),
    (Gauge, "coupon_consumer_window_fill_ratio", "How full the fullest window is; at 1 nothing is taken in."),
    (Gauge, "coupon_consumer_watermark_lag_records", "Most records of a partition that a crash would have read again."),
    (Gauge, "coupon_consumer_oldest_outstanding_seconds", "Seconds since the oldest outstanding record came here."),
    (Gauge, "coupon_consumer_lag_seconds", "Seconds since the oldest record that is not done was produced."),
    (Gauge, "coupon_consumer_lag_records", "Offsets of the partition that this process has not done."),
    (Gauge, "coupon_group_lag_records", "Offsets of the topic that the group has not passed."),
    (Gauge, "coupon_build_info", "1: the service, its version and the commit that was built."),
    (Gauge, "coupon_condition_ready", "1: the condition of /readyz is met."),
    (Gauge, "coupon_http_connections", "Open connections to the listener."),
    (Gauge, "coupon_database_connections", "Connections to PostgreSQL of this process, by whether they are used."),
    (Gauge, "coupon_database_max_connections", "Most connections to PostgreSQL that this process makes."),
    (Gauge, "coupon_producer_queue_records", "Records that Kafka has not acknowledged yet, by topic."),
    (Counter, "coupon_spans_exported_total", "Spans that the OTLP endpoint has taken."),
    (Counter, "coupon_spans_lost_total", "Spans that were not exported, by the reason."),
    (Counter, "process_cpu_seconds_total", "Seconds of CPU time of the process, of users and system."),
    (Gauge, "process_resident_memory_bytes", "Resident memory of the process."),
    (Gauge, "process_virtual_memory_bytes", "Virtual memory of the process."),
    (Gauge, "process_threads", "Threads of the process."),
    (Gauge, "process_open_fds", "Open file descriptors of the process."),
    (Gauge, "process_max_fds", "Most file descriptors that the process may open."),
    (Gauge, "process_start_time_seconds", "When the process was started, in seconds since 1970."),
    (Gauge, "coupon_group_lag_seconds", "Longest seconds that a committed offset stands still with records behind it."),
];

/// Gives the metrics of this crate and of the binary their HELP texts. To be called after
/// [`Service::start`](crate::runtime::Service::start), which installs the recorder; before that it has no effect.
pub fn describe(of_the_binary: &[MetricHelp]) {
    let describe = || {
        for &(kind, name, help) in CORE.iter().chain(of_the_binary) {
            match kind {
                // No unit is given: the exporter ignores it unless it may rename the metric after it.
                Counter => metrics::describe_counter!(name, help),
                Gauge => metrics::describe_gauge!(name, help),
                Histogram => metrics::describe_histogram!(name, help),
            }
        }
    };
    describe();
    fleeting(describe);
}
