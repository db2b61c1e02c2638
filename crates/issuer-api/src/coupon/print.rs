//! How results are printed: a table for people, JSON for programs.

use chrono::{DateTime, SecondsFormat, Utc};
use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus, ShownStatus},
    runtime::chain,
    stock::{StockError, View},
};
use coupon_operations::terminal::{
    Output, counted,
    output::{self, Column},
};
use serde::Serialize;

/// A campaign's row.
#[derive(Serialize)]
struct Row<'a> {
    code: &'a CouponCode,
    /// What time makes of it too.
    status: ShownStatus,
    /// As PostgreSQL has it.
    stored_status: CouponStatus,
    total: i64,
    issued: i64,
    opens_at: String,
    closes_at: Option<String>,
    valid_days: i32,
    /// Whether a unit is reserved only with a token of the waiting room.
    admission_required: bool,
    epoch: i64,
    created_at: String,
}

/// A row with what Redis has of it; `null` when it has nothing, or is not known to.
#[derive(Serialize)]
struct Both<'a> {
    #[serde(flatten)]
    row: Row<'a>,
    /// Whether Redis has answered.
    redis_answers: bool,
    redis: Option<Redis<'a>>,
}

#[derive(Serialize)]
struct Redis<'a> {
    status: &'a str,
    epoch: i64,
    total: i64,
    held: i64,
    remaining: i64,
    outbox: i64,
}

/// Prints one campaign.
pub(super) fn show(
    output: Output,
    coupon: &Coupon,
    view: Result<Option<View>, StockError>,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let redis_answers = view.is_ok();
    let view = view.unwrap_or_else(|error| {
        eprintln!("note: what Redis has of it is not known: {}", chain(&error));
        None
    });
    let redis = view.as_ref().map(|view| Redis {
        status: &view.status,
        epoch: view.epoch,
        total: view.total,
        held: view.issued,
        remaining: (view.total - view.issued).max(0),
        outbox: view.outbox,
    });
    let row = Row::of(coupon, now);
    if output == Output::Json {
        return output::json(&Both { row, redis_answers, redis });
    }
    let in_redis = redis.map_or_else(
        || match row.status {
            _ if !redis_answers => "not known: Redis gives no answer".to_owned(),
            ShownStatus::Archived => "nothing, it is archived".to_owned(),
            _ => "no data".to_owned(),
        },
        |redis| {
            let Redis { status, epoch, total, held, remaining, outbox } = redis;
            format!("{status}, epoch {epoch}, {held} of {total} held, {remaining} left, {outbox} not yet acknowledged by Kafka")
        },
    );
    let cells = [
        ("code", row.code.to_string()),
        ("status", row.status.to_string()),
        ("total", row.total.to_string()),
        ("issued", row.issued.to_string()),
        ("opens at", row.opens_at),
        ("closes at", row.closes_at.unwrap_or_else(|| "when it is closed".to_owned())),
        ("valid", counted(row.valid_days.into(), "day", "days")),
        ("admission", if row.admission_required { "required" } else { "off" }.to_owned()),
        ("epoch", row.epoch.to_string()),
        ("in Redis", in_redis),
    ];
    output::record(output, &cells)
}

/// The columns of [`list`].
fn columns<'a>() -> [Column<Row<'a>>; 6] {
    [
        ("CODE", |row| row.code.to_string()),
        ("STATUS", |row| row.status.to_string()),
        ("ISSUED", |row| row.issued.to_string()),
        ("TOTAL", |row| row.total.to_string()),
        ("OPENS AT", |row| row.opens_at.clone()),
        ("CLOSES AT", |row| row.closes_at.clone().unwrap_or_default()),
    ]
}

/// Prints all campaigns.
pub(super) fn list(output: Output, coupons: &[Coupon], now: DateTime<Utc>) -> anyhow::Result<()> {
    let rows: Vec<Row<'_>> = coupons.iter().map(|coupon| Row::of(coupon, now)).collect();
    output::rows(output, &rows, &columns(), &columns())
}

impl<'a> Row<'a> {
    fn of(coupon: &'a Coupon, now: DateTime<Utc>) -> Self {
        Self {
            code: &coupon.coupon_code,
            status: coupon.shown(now),
            stored_status: coupon.status,
            total: coupon.total_quantity,
            issued: coupon.issued_quantity,
            opens_at: text(coupon.opens_at),
            closes_at: coupon.closes_at.map(text),
            valid_days: coupon.valid_days,
            admission_required: coupon.admission_required,
            epoch: coupon.epoch,
            created_at: text(coupon.created_at),
        }
    }
}

/// Returns a time as RFC 3339 in UTC, to the second.
pub(super) fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
