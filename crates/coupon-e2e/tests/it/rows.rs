//! Rows of the work list and of what hangs on it, as a long life of the pipeline would leave them.

use anyhow::Result;
use coupon_e2e::world::World;
use serde_json::Value;
use uuid::Uuid;

/// An entry of the work list to be inserted.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub coupon: &'a str,
    pub member: &'a str,
    pub status: &'a str,
    pub class: &'a str,
    pub cause: Option<&'a str>,
    pub reason: &'a str,
    /// How many days ago the request was compensated, and settled if it is.
    pub days: i32,
    pub request_id: Option<Uuid>,
}

impl Default for Entry<'_> {
    fn default() -> Self {
        Self {
            coupon: "PLANTED",
            member: "somebody",
            status: "PENDING",
            class: "UNKNOWN",
            cause: Some("UNKNOWN P0001 planted"),
            reason: "planted",
            days: 0,
            request_id: None,
        }
    }
}

impl Entry<'_> {
    /// Inserts the entry and returns its number.
    pub async fn plant(self, world: &World) -> Result<i64> {
        let row = sqlx::query_scalar(
            "INSERT INTO failed_coupon_issues
                 (coupon_code, member_id, request_id, status, error_class, error_code, cause, reason, failed_at,
                  resolved_at, resolved_by, resolution)
             SELECT $1, $2, coalesce($3, gen_random_uuid()), $4, $5, 'P0001', $6, $7, at,
                    CASE WHEN $4 = 'PENDING' THEN NULL ELSE at END, CASE WHEN $4 = 'PENDING' THEN NULL ELSE $7 END,
                    CASE WHEN $4 = 'PENDING' THEN NULL ELSE $7 END
             FROM (SELECT now() - make_interval(days => $8)) age (at) RETURNING id",
        );
        let row = row.bind(self.coupon).bind(self.member).bind(self.request_id).bind(self.status).bind(self.class);
        Ok(row.bind(self.cause).bind(self.reason).bind(self.days).fetch_one(&world.db).await?)
    }
}

/// A dead letter to be inserted.
#[derive(Clone, Debug)]
pub struct Letter<'a> {
    pub coupon: Option<&'a str>,
    pub status: &'a str,
    pub text: &'a str,
    /// Age in days, of the arrival and of the last change.
    pub days: i32,
    pub request_id: Option<Uuid>,
    pub entry: Option<i64>,
    pub told: bool,
}

impl Default for Letter<'_> {
    fn default() -> Self {
        Self {
            coupon: Some("PLANTED"),
            status: "PARKED",
            text: "planted",
            days: 0,
            request_id: None,
            entry: None,
            told: true,
        }
    }
}

impl Letter<'_> {
    /// Inserts the dead letter and returns its number.
    pub async fn plant(self, world: &World) -> Result<i64> {
        let row = sqlx::query_scalar(
            "INSERT INTO dlq_events
                 (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, origin_topic, original_event_type,
                  original_event_id, coupon_code, member_id, record_key, payload, headers, error_class, error_code, cause,
                  error_message, stack_trace, attempts, status, failed_issue_id, alarm_sent, created_at, updated_at)
             SELECT 'planted', 0, (SELECT count(*) FROM dlq_events), 0, $5, 'UNKNOWN', $1, $2, $5,
                    convert_to($5, 'UTF8'), convert_to($5, 'UTF8'), jsonb_build_array(jsonb_build_object('name', $5)),
                    'UNKNOWN', 'P0001', $5, $5, $5, 1, $3, $4, $6, at, at
             FROM (SELECT now() - make_interval(days => $7)) age (at) RETURNING id",
        );
        let row = row.bind(self.request_id).bind(self.coupon).bind(self.status).bind(self.entry).bind(self.text);
        Ok(row.bind(self.told).bind(self.days).fetch_one(&world.db).await?)
    }
}

/// Decides a request of PLANTED against its member; its unit is back, or due.
pub async fn compensate(world: &World, request_id: Uuid, given_back: bool) -> Result<()> {
    sqlx::query(
        "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, given_back_at)
         SELECT coupon_id, $1, 'somebody', 'COMPENSATED', epoch, 1, now(), CASE WHEN $2 THEN now() END
         FROM coupons WHERE coupon_code = 'PLANTED'",
    )
    .bind(request_id)
    .bind(given_back)
    .execute(&world.db)
    .await?;
    Ok(())
}

/// Begins a replay of an entry so many days ago; gives its request id.
pub async fn replay(world: &World, entry: i64, outcome: Option<&str>, days: i32) -> Result<Uuid> {
    let row = sqlx::query_scalar(
        "INSERT INTO replays (request_id, failed_issue_id, coupon_code, member_id, job_id, outcome, after_close, created_at, updated_at)
         SELECT gen_random_uuid(), $1, 'PLANTED', 'somebody', 1, $2, false, at, at
         FROM (SELECT now() - make_interval(days => $3)) age (at) RETURNING request_id",
    );
    Ok(row.bind(entry).bind(outcome).bind(days).fetch_one(&world.db).await?)
}

/// Runs a command that must succeed, and reads its JSON.
pub async fn json(world: &World, arguments: &[&str]) -> Result<Value> {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--output", "json"]).collect();
    Ok(serde_json::from_str(&world.run("dlq-consumer", &arguments).await?.succeeded()?)?)
}

/// The numbers of rows that were printed as JSON.
pub fn ids(rows: &Value) -> Vec<i64> {
    rows.as_array().into_iter().flatten().filter_map(|row| row["id"].as_i64()).collect()
}
