//! Where a member's id stands: everything that PostgreSQL and Redis hold, searched without any code of the product.

use anyhow::Result;
use coupon_e2e::{kafka::record::NewRecord, world::World};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

/// Returns an id as an address has it.
pub(crate) fn in_address(id: &str) -> String {
    let mut text = String::new();
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            text.extend(["%", &format!("{byte:02X}")]);
        }
    }
    text
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// The id as it may be written.
fn needles(id: &str) -> Vec<String> {
    let json = json!(id).to_string();
    let address = in_address(id);
    let in_form = address.replace("%20", "+");
    let json = json.trim_matches('"').to_owned();
    vec![id.to_owned(), json, address.to_lowercase(), in_form, in_hex(id.as_bytes()), address]
}

/// Adds each text of a document, names included.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            found.push(name.clone());
            texts(value, found);
        }),
        _ => {}
    }
}

/// Everything that PostgreSQL holds, by table: each row, and each text of it as it was before it was escaped.
pub(crate) async fn postgresql(world: &World) -> Result<Vec<(String, Vec<String>)>> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
         WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    )
    .fetch_all(&world.db)
    .await?;
    let mut all = Vec::new();
    for table in tables {
        let select = format!("SELECT to_jsonb(t) FROM {table} t ORDER BY t::text");
        let rows: Vec<Value> = sqlx::query_scalar(AssertSqlSafe(select)).fetch_all(&world.db).await?;
        let mut found: Vec<String> = rows.iter().map(Value::to_string).collect();
        for row in &rows {
            texts(row, &mut found);
        }
        all.push((table, found));
    }
    // The values of headers are in base64.
    let headers: Vec<String> = sqlx::query_scalar(
        "SELECT encode(decode(h ->> 'value', 'base64'), 'hex') FROM dlq_events, jsonb_array_elements(headers) h
         WHERE h ->> 'value' IS NOT NULL",
    )
    .fetch_all(&world.db)
    .await?;
    all.push(("headers of dead letters".to_owned(), headers));
    Ok(all)
}

/// Everything that Redis holds.
async fn redis(world: &World) -> Result<(String, Vec<String>)> {
    let mut found = Vec::new();
    for code in world.stock.codes().await? {
        let stock = world.stock.of(&code).await?;
        found.extend(stock.meta.into_iter().chain(stock.issued).flat_map(|(field, value)| [field, value]));
        found.extend(stock.outbox);
    }
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut world.stock.redis()).await?;
    found.extend(keys);
    Ok(("redis".to_owned(), found))
}

/// Returns the places where an id stands, with what stands there.
pub(crate) async fn named(world: &World, id: &str) -> Result<Vec<String>> {
    let needles = needles(id);
    let mut all = postgresql(world).await?;
    all.push(redis(world).await?);
    let names = |text: &String| needles.iter().any(|needle| text.contains(needle.as_str()));
    let found = all
        .iter()
        .flat_map(|(place, texts)| texts.iter().filter(|text| names(text)).map(move |text| format!("{place}: {text}")));
    Ok(found.collect())
}

/// Puts an id into every place that no test brings it to by a command.
pub(crate) async fn plant(world: &World, id: &str) -> Result<()> {
    let (in_json, address) = (json!({ "filter": { "member": id }, "note": format!("of {id}.") }), in_address(id));
    let plants = [
        "INSERT INTO alarm_causes (alarm_key, announced_at, announced_count, shown)
         VALUES ('UNKNOWN P0001 no coupon for ' || $1, now(), 1, 'no coupon for ' || $1)",
        "INSERT INTO alarm_notices (cause, message, command, created_at, alarm_sent)
         VALUES ('PLANTED ' || $1, 'look at ' || $1, 'dlq-consumer find --member ''' || $1 || '''', now(), true)",
        "INSERT INTO alarm_channels (channel, last_error) VALUES ('planted', 'the receiver knows no ' || $1)",
        "INSERT INTO give_up_budgets (coupon_id, cause, tokens, refilled_at) VALUES (1, 'UNKNOWN ' || $1, 0.1, now())",
        "INSERT INTO reconciliations
             (coupon_code, started_by, started_at, finished_at, applied, marks, issued_rows, in_flight, drift)
         SELECT 'PLANTED', 'x', now(), now(), false, 0, 0, 0, $2 WHERE $1 <> $3",
        "INSERT INTO jobs (kind, status, parameters, progress, note, reason, asked_by, created_at, updated_at)
         SELECT 'SETTLE', 'DONE', $2, $2, 'of ' || $1, 'of ' || $1, $2, now(), now() WHERE $1 <> $3",
        "INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, refused, note, created_by,
                                  created_at, updated_at, reason, asked_by)
         SELECT 'REQUESTS', 'DONE', $2, 1, 1, false, 1, $2, 'of ' || $1, 'x', now(), now(), 'of ' || $1, $2 WHERE $1 <> $3",
        "INSERT INTO plans (verb, parameters, predicate, refused, sample, typed, created_by, created_at, expires_at, reason)
         SELECT 'ignore', $2, 'of member ' || $1, $2, jsonb_build_array($2), $1, 'x', now(), now(), 'of ' || $1 WHERE $1 <> $3",
        // Earlier versions kept the path that was denied.
        "INSERT INTO operator_audit (actor, verb, subject, change, reason)
         VALUES ('x', 'denied', '/members/' || $3, $2, 'of ' || $1)",
        "INSERT INTO saved_filters (operator_name, name, view, created_at)
         VALUES ('x', 'requests of ' || $1 || ', who called us twice', '/work?member=' || $3, now())",
    ];
    for plant in plants {
        let typed = format!("PREPARE planted (text, jsonb, text) AS {plant}");
        let mut connection = world.db.acquire().await?;
        sqlx::raw_sql(AssertSqlSafe(typed)).execute(&mut *connection).await?;
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let values = [id, &in_json.to_string(), &address].map(quoted).join(", ");
        let run = format!("EXECUTE planted ({values}); DEALLOCATE planted");
        sqlx::raw_sql(AssertSqlSafe(run)).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A record that nobody can read, with the id in its key, in its value and in a header.
pub(crate) fn unreadable(id: &str) -> NewRecord {
    let value = format!("{{\"member_id\":{}, \"version\": 1, broken", json!(id));
    let headers = vec![
        ("x-coupon-error".to_owned(), Some(format!("no coupon for {id}: no").into_bytes())),
        ("x-other".to_owned(), Some(vec![0, 255])),
    ];
    NewRecord { headers, ..NewRecord::of(id, value) }
}
