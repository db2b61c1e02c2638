//! N4: what retention removes, and what it never does, by the real command and by the service itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use coupon_e2e::{wait::eventually, world::World};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    SOON,
    rows::{Entry, Letter, compensate, json, replay},
};

const OLD: i32 = 40;
const YOUNG: i32 = 20;
const TABLES: [&str; 5] = ["failed_coupon_issues", "dlq_events", "replays", "alarm_notices", "reconciliations"];

/// What is planted: by table, the rows that may go and those that stay.
#[derive(Default)]
struct Plan {
    go: BTreeMap<&'static str, BTreeSet<String>>,
    stay: BTreeMap<&'static str, BTreeSet<String>>,
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
        Ok(())
    }
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

async fn plant(world: &World) -> Result<Plan> {
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

async fn rows(world: &World) -> Result<BTreeMap<&'static str, BTreeSet<String>>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        let key = if table == "replays" { "request_id" } else { "id" };
        let select = format!("SELECT {key}::text FROM {table}");
        let found: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(select)).fetch_all(&world.db).await?;
        all.insert(table, found.into_iter().collect());
    }
    Ok(all)
}

async fn decisions(world: &World) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?)
}

async fn plant_many(world: &World, number: i32) -> Result<()> {
    sqlx::query(
        "INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason,
                                           resolved_at, resolved_by, resolution)
         SELECT 'MANY', 'm', gen_random_uuid(), 'IGNORED', 'UNKNOWN', 'P0001', 'planted', now() - interval '40 days', 'x', 'x'
         FROM generate_series(1, $1)",
    )
    .bind(number)
    .execute(&world.db)
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n4_retention_removes_only_resolved_and_ignored_rows_past_their_age() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("PLANTED", 10).await?;
    let plan = plant(&world).await?;
    let (before, decided) = (rows(&world).await?, decisions(&world).await?);

    let dry = json(&world, &["purge", "--dry-run"]).await?;
    let counted: BTreeMap<&str, usize> = TABLES.iter().map(|table| (*table, plan.go[table].len())).collect();
    let said: BTreeMap<&str, usize> = dry
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| Some((row["table"].as_str()?, usize::try_from(row["rows"].as_u64()?).ok()?)))
        .collect();
    assert_eq!(said, counted);
    let nameless = world.run_with("dlq-consumer", &["purge", "--yes"], &[("USER", "")]).await?;
    assert!(nameless.code == Some(2) && nameless.stderr.contains("say who with --by"), "{nameless:?}");
    let unasked = world.run("dlq-consumer", &["purge", "--by", "olga"]).await?;
    assert!(unasked.code == Some(2) && unasked.stderr.contains("--yes"), "{unasked:?}");
    let none = world.run("dlq-consumer", &["purge", "--older-than-days", "0", "--yes"]).await?;
    assert_eq!(none.code, Some(2), "{none:?}");
    assert_eq!(rows(&world).await?, before, "nothing so far has removed anything");

    // Enough for three batches, and a kill behind the second.
    plant_many(&world, 2500).await?;
    let crash = [("COUPON_CRASH_AT", "purge a batch:after#2")];
    let killed = world.run_with("dlq-consumer", &["purge", "--yes", "--by", "olga"], &crash).await?;
    assert!(killed.status.contains("signal"), "{killed:?}");
    let left = rows(&world).await?[TABLES[0]].len() - plan.stay[TABLES[0]].len();
    assert!((1..2500).contains(&left), "{left} are left to do");
    let purged = json(&world, &["purge", "--yes", "--by", "olga"]).await?;
    assert_eq!(purged[0], serde_json::json!({ "table": TABLES[0], "rows": left }), "{purged}");
    assert_eq!(rows(&world).await?, plan.stay);
    assert_eq!(decisions(&world).await?, decided, "decisions stay for ever");
    let audit = json(&world, &["audit", "--verb", "purge", "--subject", TABLES[0]]).await?;
    let deleted: i64 = audit.as_array().into_iter().flatten().filter_map(|row| row["change"]["deleted"].as_i64()).sum();
    assert_eq!(deleted, 2500 + i64::try_from(plan.go[TABLES[0]].len())?, "{audit}");

    let again = json(&world, &["purge", "--yes", "--by", "olga"]).await?;
    assert!(again.as_array().into_iter().flatten().all(|row| row["rows"] == 0), "{again}");
    // The young ones have their day too, and what is not done never has.
    world.run("dlq-consumer", &["purge", "--yes", "--by", "olga", "--older-than-days", "10"]).await?.succeeded()?;
    let left: Vec<String> = sqlx::query_scalar("SELECT DISTINCT status FROM failed_coupon_issues f WHERE NOT EXISTS (
             SELECT FROM replays r WHERE r.failed_issue_id = f.id AND (outcome IS NULL OR outcome IN ('RESERVED', 'HOLDS_ONE')))
         AND EXISTS (SELECT FROM coupon_issues i WHERE i.request_id = f.request_id AND given_back_at IS NOT NULL)
         AND NOT EXISTS (SELECT FROM dlq_events l WHERE l.original_event_id = f.request_id AND NOT alarm_sent)")
        .fetch_all(&world.db)
        .await?;
    assert_eq!(left, ["PENDING"]);
    assert_eq!(decisions(&world).await?, decided);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_purges_by_itself_and_replicas_leave_each_others_rows_alone() -> Result<()> {
    const MANY: i32 = 5000;
    let world = World::new().await?;
    plant_many(&world, MANY).await?;
    let kept = Entry { status: "IGNORED", days: YOUNG, ..Entry::default() }.plant(&world).await?;
    let (one, two) =
        tokio::try_join!(world.start_dlq_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    eventually("the old ones are gone", SOON, async || -> Result<bool> {
        let rows: Value = json(&world, &["list"]).await?;
        Ok(rows.as_array().is_some_and(|rows| rows.len() == 1 && rows[0]["id"] == kept))
    })
    .await?;
    eventually("each row was counted once", SOON, async || -> Result<bool> {
        let mut purged = 0.0;
        for process in [&one, &two] {
            let of_one = process.metric("coupon_purged_rows_total", "table=\"failed_coupon_issues\"").await?;
            purged += of_one.unwrap_or_default();
        }
        if (purged - f64::from(MANY)).abs() < 0.5 { Ok(true) } else { anyhow::bail!("{purged} were") }
    })
    .await?;
    Ok(())
}
