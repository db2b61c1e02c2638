//! The HELP texts of the metrics of this crate; their labels are in the README.

use coupon_core::metrics_help::{
    MetricHelp,
    MetricKind::{Counter, Gauge, Histogram},
};

/// What this crate records.
pub const HELP: &[MetricHelp] = &[
    (Counter, "coupon_requests_total", "POST requests, by their outcome and what kind of answer it is."),
    (Histogram, "coupon_request_seconds", "Seconds from the request to the answer of a POST."),
    (Counter, "coupon_refused_from_memory_total", "Refusals by the sold-out cache, without asking Redis."),
    (Counter, "coupon_refused_unverified_total", "Refusals as sold out, before the token's signature was verified."),
    (Counter, "coupon_unauthenticated_total", "Requests answered 401, by what is wrong with the token."),
    (Counter, "coupon_publish_failures_total", "Publications that were not queued, or that Kafka did not acknowledge."),
    (Counter, "coupon_relay_passes_total", "Passes of the relay over all outboxes; it is idle when they stop."),
    (Counter, "coupon_relay_failures_total", "Questions of the relay that Redis did not answer."),
    (Gauge, "coupon_http_requests_in_flight", "Requests of members being worked on."),
    (Gauge, "coupon_open_campaign_coupons", "Coupons of the campaign in all."),
    (Gauge, "coupon_open_campaign_held", "Coupons of the campaign that somebody holds, by Redis."),
    (Gauge, "coupon_open_campaign_outbox_entries", "Outbox entries of the campaign."),
    (Counter, "coupon_open_campaign_requests_total", "POST requests for the campaign, by their outcome."),
    (Gauge, "coupon_publishing_cut_off", "1: this process alone does not reach Kafka."),
    (Gauge, "coupon_outbox_entries", "Entries of all outboxes, as last seen; the same in each replica."),
    (Gauge, "coupon_outbox_oldest_seconds", "Age in seconds of the oldest entry of all outboxes, as last seen."),
];
