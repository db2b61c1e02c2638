//! How results are printed: a table for people, JSON for programs.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::ValueEnum;
use comfy_table::{Table, presets::NOTHING};
use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Coupon, CouponStatus, ShownStatus},
    runtime::{chain, operator::counted},
    stock::{StockError, View},
};
use serde::Serialize;

use super::say;

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

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
) -> io::Result<()> {
    let redis_answers = view.is_ok();
    let view = view.unwrap_or_else(|error| {
        say(format_args!("note: what Redis has of it is not known: {}", chain(&error)));
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
        return json(&Both { row, redis_answers, redis });
    }
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.add_row(vec!["code".to_owned(), row.code.to_string()]);
    table.add_row(vec!["status".to_owned(), row.status.to_string()]);
    table.add_row(vec!["total".to_owned(), row.total.to_string()]);
    table.add_row(vec!["issued".to_owned(), row.issued.to_string()]);
    table.add_row(vec!["opens at".to_owned(), row.opens_at]);
    table.add_row(vec!["closes at".to_owned(), row.closes_at.unwrap_or_else(|| "when it is closed".to_owned())]);
    table.add_row(vec!["valid".to_owned(), counted(row.valid_days.into(), "day", "days")]);
    table.add_row(vec!["epoch".to_owned(), row.epoch.to_string()]);
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
    table.add_row(vec!["in Redis".to_owned(), in_redis]);
    print(table)
}

/// Prints all campaigns.
pub(super) fn list(output: Output, coupons: &[Coupon], now: DateTime<Utc>) -> io::Result<()> {
    let rows = coupons.iter().map(|coupon| Row::of(coupon, now));
    if output == Output::Json {
        return json(&rows.collect::<Vec<_>>());
    }
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(["CODE", "STATUS", "ISSUED", "TOTAL", "OPENS AT", "CLOSES AT"]);
    for row in rows {
        let closes_at = row.closes_at.unwrap_or_default();
        table.add_row([
            row.code.to_string(),
            row.status.to_string(),
            row.issued.to_string(),
            row.total.to_string(),
            row.opens_at,
            closes_at,
        ]);
    }
    print(table)
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
            epoch: coupon.epoch,
            created_at: text(coupon.created_at),
        }
    }
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn json(value: &impl Serialize) -> io::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

fn print(mut table: Table) -> io::Result<()> {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    line(&lines.join("\n"))
}

/// A reader that went away, such as `head`, has seen what it wanted.
fn line(text: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
