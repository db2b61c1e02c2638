//! What the second checker reads: tables, keys, topics and offsets as they are, one JSON object a line.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use super::Run;
use crate::kafka::{Topic, record::Record};

/// Tables that are kept whole.
const TABLES: [&str; 7] =
    ["coupons", "coupon_issues", "failed_coupon_issues", "dlq_events", "alarm_notices", "reconciliations", "rebuilds"];
/// Columns that nobody judges and that are large.
const LARGE: &str = "ARRAY['payload', 'headers', 'stack_trace', 'record_key', 'error_message', 'reason']";

/// Writes everything to the files of the run.
pub(super) async fn everything(run: &Run) -> Result<()> {
    let world = &run.fleet.world;
    for table in TABLES {
        let query = format!("SELECT (to_jsonb(t) - {LARGE})::text || E'\\n' FROM {table} t");
        let lines: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(&world.db).await?;
        run.kept.append(&format!("table.{table}.jsonl"), &lines.concat())?;
    }
    let stock = run.fleet.stock().await?;
    for code in stock.codes().await? {
        let of_it = stock.of(&code).await?;
        let line = json!({"code": code, "meta": of_it.meta, "issued": of_it.issued, "outbox": of_it.outbox});
        run.kept.line("redis.jsonl", &line)?;
    }
    for (name, topic, group) in [("main", &world.topic, "issue-consumer"), ("dlq", &world.dlq, "dlq-consumer")] {
        let committed = topic.committed(&world.group_of(group)).await?;
        run.kept.append(&format!("topic.{name}.jsonl"), &records(topic).await?)?;
        for (partition, offset) in committed {
            run.kept.line("offsets.jsonl", &json!({"topic": name, "partition": partition, "committed": offset}))?;
        }
    }
    for received in run.fleet.slack.received() {
        let line = json!({"at": received.at, "taken": received.is_taken, "text": received.slack_text()});
        run.kept.line("alarms.jsonl", &line)?;
    }
    Ok(())
}

async fn records(topic: &Topic) -> Result<String> {
    let mut lines = String::new();
    for record in topic.read().await? {
        writeln!(lines, "{}", line(&record))?;
    }
    Ok(lines)
}

fn line(record: &Record) -> Value {
    let header = |name: &str| record.header(name).map(str::to_owned);
    json!({
        "partition": record.partition, "offset": record.offset, "timestamp": record.timestamp_ms,
        "key": bytes(record.key.as_deref()), "value": bytes(record.value.as_deref()),
        "origin": [header("__dlq.errors.topic"), header("__dlq.errors.partition"), header("__dlq.errors.offset")],
    })
}

/// Text as it is, other bytes as a list of numbers.
fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => std::str::from_utf8(bytes).map_or_else(|_| json!(bytes), |text| json!(text)),
    }
}
