//! The rows that retention meets: of every table, status and age, each with whether it may go.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use coupon_e2e::world::World;
use uuid::Uuid;

use super::TABLES;
use crate::rows::{Entry, Letter, compensate, replay};

/// Age of what may go, in days.
const OLD: i32 = 40;
/// Age of what stays, in days.
pub(super) const YOUNG: i32 = 20;

/// What is planted: by table, the rows that may go and those that stay.
#[derive(Default)]
pub(super) struct Plan {
    /// The rows that are removed.
    pub(super) go: BTreeMap<&'static str, BTreeSet<String>>,
    /// The rows that are kept.
    pub(super) stay: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Plan {
    fn note(&mut self, table: &'static str, goes: bool, id: &impl ToString) {
        let side = if goes { &mut self.go } else { &mut self.stay };
        side.entry(table).or_default().insert(id.to_string());
    }

    /// An entry of this status with its decision, its dead letter, and perhaps a replay.
    async fn entry(&mut self, world: &World, status: &str, days: i32, case: Case<'_>) -> Result<()> {
        let id_of_request = Uuid::now_v7();
        let request_id = Some(id_of_request);
        let goes = status != "PENDING" && days == OLD && case.is_finished();
        let id = Entry { status, days, request_id, ..Entry::default() }.plant(world).await?;
        self.note(TABLES[0], goes, &id);
        compensate(world, id_of_request, case != Case::UnitIsDue).await?;
        let told = case != Case::NobodyKnows;
        let letter = Letter { status: "COMPENSATED", days, request_id, entry: Some(id), told, ..Letter::default() };
        self.note(TABLES[1], goes, &letter.plant(world).await?);
        // A second one, which only its request links to the entry.
        let duplicate = Letter { status: "DUPLICATE", days: OLD, request_id, ..Letter::default() };
        self.note(TABLES[1], goes, &duplicate.plant(world).await?);
        if let Case::Replayed(outcome) = case {
            self.note(TABLES[2], goes, &replay(world, id, outcome, OLD).await?);
        }
        Ok(())
    }

    async fn others(&mut self, world: &World, days: i32) -> Result<()> {
        for status in ["RECOVERED", "COMPENSATED", "DUPLICATE", "RESOLVED", "IGNORED", "HELD", "PARKED"] {
            for told in [true, false] {
                let goes = days == OLD && told && !["HELD", "PARKED"].contains(&status);
                let letter = Letter { status, days, told, coupon: None, ..Letter::default() };
                self.note(TABLES[1], goes, &letter.plant(world).await?);
            }
        }
        // Its request is compensated, has no entry any more, and its unit is to be given back once more.
        let id_of_request = Uuid::now_v7();
        let request_id = Some(id_of_request);
        compensate(world, id_of_request, false).await?;
        let due = Letter { status: "DUPLICATE", days, request_id, ..Letter::default() };
        self.note(TABLES[1], false, &due.plant(world).await?);
        for sent in [true, false] {
            let notice: i64 = sqlx::query_scalar(
                "INSERT INTO alarm_notices (cause, message, command, created_at, alarm_sent)
                 VALUES ('c ' || gen_random_uuid(), 'm', 'x', now() - make_interval(days => $1), $2) RETURNING id",
            )
            .bind(days)
            .bind(sent)
            .fetch_one(&world.db)
            .await?;
            self.note(TABLES[3], days == OLD && sent, &notice);
        }
        let reconciliation: i64 = sqlx::query_scalar(
            "INSERT INTO reconciliations
                 (coupon_code, started_by, started_at, finished_at, applied, marks, issued_rows, in_flight, drift)
             SELECT 'PLANTED', 'x', at, at, false, 0, 0, 0, '{}'
             FROM (SELECT now() - make_interval(days => $1)) age (at) RETURNING id",
        )
        .bind(days)
        .fetch_one(&world.db)
        .await?;
        self.note(TABLES[4], days == OLD, &reconciliation);
        self.of_webhooks(world, days).await?;
        self.of_the_console(world, days).await
    }

    /// Events of campaigns with deliveries of each status.
    async fn of_webhooks(&mut self, world: &World, days: i32) -> Result<()> {
        for status in [None, Some("DELIVERED"), Some("FAILED"), Some("PENDING")] {
            let event: i64 = sqlx::query_scalar(
                "INSERT INTO campaign_events (kind, coupon_code, occurred_at, handed_out)
                 VALUES ('opened', 'PLANTED', now() - make_interval(days => $1), $2) RETURNING id",
            )
            .bind(days)
            .bind(status.is_some())
            .fetch_one(&world.db)
            .await?;
            let goes = days == OLD && matches!(status, Some("DELIVERED" | "FAILED"));
            self.note(TABLES[10], goes, &event);
            let Some(status) = status else { continue };
            let delivery: i64 = sqlx::query_scalar(
                "INSERT INTO webhook_deliveries (endpoint, event_id, status, next_at, created_at, delivered_at)
                 SELECT 'shop', $2, $3, at, at, CASE WHEN $3 = 'DELIVERED' THEN at END
                 FROM (SELECT now() - make_interval(days => $1)) age (at) RETURNING id",
            )
            .bind(days)
            .bind(event)
            .bind(status)
            .fetch_one(&world.db)
            .await?;
            self.note(TABLES[9], goes, &delivery);
        }
        Ok(())
    }

    /// Jobs of each status with their plans, a plan that nobody confirmed, and a login.
    async fn of_the_console(&mut self, world: &World, days: i32) -> Result<()> {
        for status in ["RUNNING", "PAUSED", "STOPPED", "CANCELLED", "DONE"] {
            let job: i64 = sqlx::query_scalar(
                "INSERT INTO replay_jobs (kind, status, filter, up_to_id, per_second, after_close, eligible, created_by,
                                          created_at, updated_at)
                 SELECT 'REQUESTS', $2, '{}', 0, 1, false, 0, 'x', at, at
                 FROM (SELECT now() - make_interval(days => $1)) age (at) RETURNING job_id",
            )
            .bind(days)
            .bind(status)
            .fetch_one(&world.db)
            .await?;
            let goes = days == OLD && ["CANCELLED", "DONE"].contains(&status);
            self.note(TABLES[5], goes, &job);
            self.note(TABLES[7], goes, &plan_of(world, "replay", Some(job), days).await?);
        }
        for status in ["RUNNING", "CANCELLED", "FAILED", "DONE"] {
            let job: i64 = sqlx::query_scalar(
                "INSERT INTO jobs (kind, status, parameters, reason, asked_by, created_at, updated_at)
                 SELECT 'SETTLE', $2, '{}', 'x', '{}', at, at
                 FROM (SELECT now() - make_interval(days => $1)) age (at) RETURNING job_id",
            )
            .bind(days)
            .bind(status)
            .fetch_one(&world.db)
            .await?;
            let goes = days == OLD && status != "RUNNING";
            self.note(TABLES[6], goes, &job);
            self.note(TABLES[7], goes, &plan_of(world, "resolve", Some(job), days).await?);
        }
        self.note(TABLES[7], days == OLD, &plan_of(world, "resolve", None, days).await?);
        let session: String = sqlx::query_scalar(
            "INSERT INTO operator_sessions (session_hash, operator_name, source, created_at, expires_at)
             SELECT decode(md5(random()::text), 'hex'), 'x', 'x', at, at
             FROM (SELECT now() - make_interval(days => $1)) age (at) RETURNING session_hash::text",
        )
        .bind(days)
        .fetch_one(&world.db)
        .await?;
        self.note(TABLES[8], days == OLD, &session);
        Ok(())
    }
}

/// Inserts a plan that has become this job, or none.
async fn plan_of(world: &World, verb: &str, job: Option<i64>, days: i32) -> Result<i64> {
    let row = sqlx::query_scalar(
        "INSERT INTO plans (verb, parameters, predicate, created_by, created_at, expires_at, job_id)
         SELECT $1, '{}', 'x', 'x', at, at, $2 FROM (SELECT now() - make_interval(days => $3)) age (at) RETURNING plan_id",
    );
    Ok(row.bind(verb).bind(job).bind(days).fetch_one(&world.db).await?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case<'a> {
    Finished,
    UnitIsDue,
    NobodyKnows,
    Replayed(Option<&'a str>),
}

impl Case<'_> {
    fn is_finished(self) -> bool {
        match self {
            Self::Finished => true,
            Self::UnitIsDue | Self::NobodyKnows => false,
            Self::Replayed(outcome) => !matches!(outcome, None | Some("RESERVED" | "HOLDS_ONE")),
        }
    }
}

/// Plants rows of every kind, old and young.
pub(super) async fn plant(world: &World) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut cases = vec![Case::Finished, Case::UnitIsDue, Case::NobodyKnows, Case::Replayed(None)];
    let outcomes = ["RESERVED", "HOLDS_ONE", "SOLD_OUT", "CLOSED", "NOT_READY", "ISSUED", "COMPENSATED"];
    cases.extend(outcomes.map(|outcome| Case::Replayed(Some(outcome))));
    for days in [OLD, YOUNG] {
        for status in ["PENDING", "RESOLVED", "IGNORED"] {
            for case in &cases {
                plan.entry(world, status, days, *case).await?;
            }
        }
        plan.others(world, days).await?;
    }
    Ok(plan)
}
