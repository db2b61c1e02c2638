//! The places where a member's id may stand, beside `coupon_issues`.

/// A table whose rows may name a member.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The table.
    pub table: &'static str,
    /// Its key: a column, or columns and texts joined by ` || `.
    pub(super) key: &'static str,
    /// Type of the key, and a key before all others.
    pub(super) kind: &'static str,
    pub(super) first: &'static str,
    /// The column that holds a member's id and nothing else.
    pub member: Option<&'static str>,
    /// The columns in which an id may stand within something else: texts, documents, bytes.
    pub columns: &'static [&'static str],
    /// A column that takes only so many characters.
    pub bound: Option<(&'static str, usize)>,
    /// Columns and values of rows with which something is still going to happen: they are not rewritten. `null` is a value too.
    pub(super) open: &'static [(&'static str, &'static [&'static str])],
}

impl Place {
    /// Whether the key holds texts, which an erasure may change.
    pub(super) fn is_text_key(&self) -> bool {
        self.kind == "text"
    }

    /// Whether something is still going to happen with a row.
    pub fn is_open(&self, row: &serde_json::Value) -> bool {
        self.open.iter().any(|(column, values)| {
            let value = &row[*column];
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            values.contains(&text.as_str())
        })
    }
}

const fn by_number(table: &'static str, key: &'static str, columns: &'static [&'static str]) -> Place {
    Place { table, key, kind: "bigint", first: "-1", member: None, columns, bound: None, open: &[] }
}

const fn by_text(table: &'static str, key: &'static str, columns: &'static [&'static str]) -> Place {
    Place { table, key, kind: "text", first: "", member: None, columns, bound: None, open: &[] }
}

/// Every table beside `coupon_issues` that may name a member. A column that can hold one and is not here is named, with the
/// reason, by the test `a_column_that_can_hold_a_member_is_erased_or_has_a_reason`.
pub const PLACES: &[Place] = &[
    Place {
        member: Some("member_id"),
        open: &[("status", &["PENDING"])],
        ..by_number("failed_coupon_issues", "id", &["reason", "cause", "error_code", "resolution"])
    },
    Place {
        member: Some("member_id"),
        // A letter that is told of by an alarm is read once more.
        open: &[("status", &["HELD", "PARKED"]), ("alarm_sent", &["false"])],
        ..by_number(
            "dlq_events",
            "id",
            &[
                "record_key",
                "payload",
                "headers",
                "origin_topic",
                "error_code",
                "cause",
                "error_message",
                "stack_trace",
            ],
        )
    },
    Place {
        table: "replays",
        key: "request_id",
        kind: "uuid",
        first: "00000000-0000-0000-0000-000000000000",
        member: Some("member_id"),
        columns: &[],
        bound: None,
        open: &[("outcome", &["null", "RESERVED", "HOLDS_ONE"])],
    },
    Place {
        open: &[("status", &["RUNNING", "PAUSED"])],
        ..by_number("replay_jobs", "job_id", &["filter", "refused", "note", "reason", "asked_by"])
    },
    Place {
        open: &[("status", &["RUNNING"])],
        ..by_number("jobs", "job_id", &["parameters", "progress", "note", "reason", "asked_by"])
    },
    by_number("plans", "plan_id", &["parameters", "predicate", "refused", "sample", "typed", "reason"]),
    by_number("row_notes", "id", &["note"]),
    by_number("operator_audit", "id", &["subject", "change", "reason"]),
    Place { open: &[("alarm_sent", &["false"])], ..by_number("alarm_notices", "id", &["cause", "message", "command"]) },
    by_number("reconciliations", "id", &["drift"]),
    by_text("alarm_causes", "alarm_key", &["alarm_key", "shown"]),
    by_text("alarm_channels", "channel", &["last_error"]),
    by_text("give_up_budgets", "coupon_id || ' ' || cause", &["cause"]),
    Place { bound: Some(("name", 60)), ..by_text("saved_filters", "operator_name || '/' || name", &["name", "view"]) },
    // What an endpoint answered.
    by_text("webhook_endpoints", "endpoint", &["last_error"]),
    by_number("webhook_deliveries", "id", &["last_error"]),
    by_text("member_erasures", "pseudonym", &["reason"]),
];
