//! N4: what retention removes, and what it never does, by the real command and by the service itself.

mod planted;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use coupon_e2e::{wait::eventually, world::World};
use serde_json::Value;

use self::planted::{YOUNG, plant};
use crate::{
    SOON,
    rows::{Entry, json},
};

const TABLES: [&str; 11] = [
    "failed_coupon_issues",
    "dlq_events",
    "replays",
    "alarm_notices",
    "reconciliations",
    "replay_jobs",
    "jobs",
    "plans",
    "operator_sessions",
    "webhook_deliveries",
    "campaign_events",
];

async fn rows(world: &World) -> Result<BTreeMap<&'static str, BTreeSet<String>>> {
    let mut all = BTreeMap::new();
    for table in TABLES {
        let key = match table {
            "replays" => "request_id",
            "replay_jobs" | "jobs" => "job_id",
            "plans" => "plan_id",
            "operator_sessions" => "session_hash",
            _ => "id",
        };
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
    // That it was opened is no part of the plan.
    sqlx::query("DELETE FROM campaign_events").execute(&world.db).await?;
    let plan = plant(&world).await?;
    let (before, decided) = (rows(&world).await?, decisions(&world).await?);

    let dry = json(&world, &["purge", "--dry-run"]).await?;
    let counted = TABLES.iter().map(|table| (*table, plan.go[table].len()));
    // Nothing has a number or a trace here.
    let none = [("coupon_decision_batches", 0), ("coupon_decision_traces", 0)];
    let counted: BTreeMap<&str, usize> = counted.chain(none).collect();
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
