//! The HELP texts of the metrics of this crate; those of the engine are in `coupon-core`.

use coupon_core::metrics_help::{
    MetricHelp,
    MetricKind::{Counter, Gauge},
};

/// What this crate records.
pub const HELP: &[MetricHelp] = &[
    (Counter, "coupon_give_ups_total", "Decisions against dead letters, by what became of them."),
    (Counter, "coupon_dead_letters_total", "Dead letters kept without deciding against them, by their status."),
    (Gauge, "coupon_give_backs_due", "Give-backs that are due; at most 200 are looked at in one go."),
    (Counter, "coupon_sweeps_failed_total", "Rounds of the give-back worker that failed."),
    (Counter, "coupon_dead_letters_announced_total", "Dead letters whose alarm was sent."),
    (Counter, "coupon_alarms_told_total", "Alarms that the channel took; log when no channel is set."),
    (Counter, "coupon_alarm_refusals_total", "Alarms that the channel did not take."),
    (Counter, "coupon_webhook_attempts_total", "Attempts to send an event to a webhook, by what became of them."),
    (Gauge, "coupon_webhook_failing_seconds", "Seconds since the webhook began to fail; 0 while it works."),
    (Gauge, "coupon_webhook_deliveries_waiting", "Events that wait for the webhook; the same in each replica."),
    (Gauge, "coupon_alarms_undelivered", "Dead letters and notices that wait because no channel works; else 0."),
    (Counter, "coupon_purged_rows_total", "Rows that retention has purged from the table."),
    (Gauge, "coupon_drift", "Differences that the last comparison left, by kind; take the highest of the replicas."),
    (Gauge, "coupon_reconcile_unjudged", "Requests that the last comparison could not judge."),
    (Counter, "coupon_reconciliations_total", "Comparisons of all campaigns that ended."),
    (Counter, "coupon_reconciliations_failed_total", "Comparisons that failed."),
    (Counter, "coupon_replays_settled_total", "Replays that the service has settled."),
    (Gauge, "coupon_work_list_pending", "PENDING entries of the work list; the same in each replica."),
    (Gauge, "coupon_work_list_oldest_seconds", "Age in seconds of the oldest PENDING entry of the work list."),
    (Gauge, "coupon_dead_letters_undecided", "Dead letters without a decision, by their status."),
    (Gauge, "coupon_alarms_unsent", "Dead letters and notices whose alarm is not sent yet."),
    (Gauge, "coupon_campaigns", "Campaigns that have not ended for good, by their status."),
    (Gauge, "coupon_campaign_coupons", "Coupons of these campaigns in all."),
    (Gauge, "coupon_campaign_issued", "Issued coupons of these campaigns."),
    (Counter, "coupon_decisions_relayed_total", "Decisions that were published and acknowledged."),
    (Counter, "coupon_decision_relay_failures_total", "Passes of the decision relay that failed."),
    (Gauge, "coupon_decisions_behind", "Decisions that are not published yet; the same in each replica."),
    (Gauge, "coupon_decisions_oldest_seconds", "Age in seconds of the oldest of them; 0 without one."),
    (Counter, "coupon_console_denials_total", "Requests and logins that the console denied, by the reason."),
];
