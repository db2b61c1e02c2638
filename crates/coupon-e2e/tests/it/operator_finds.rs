//! What operators can find without psql.

use anyhow::{Context, Result};
use coupon_e2e::{wait::eventually, world::World};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    SOON, Services,
    planted::Planted,
    rows::{Entry, Letter, ids, json},
    write::accepted,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_constraints_are_two_causes_and_two_budgets_and_the_reason_finds_them_as_printed() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("TWO", 10).await?;
    for (name, first) in [("price_known", "p"), ("region_known", "r")] {
        let check = format!(
            "ALTER TABLE coupon_issues ADD CONSTRAINT {name}
             CHECK (decision = 'COMPENSATED' OR member_id NOT LIKE '{first}%')"
        );
        sqlx::query(sqlx::AssertSqlSafe(check)).execute(&world.db).await?;
    }
    let services = Services::start(&world).await?;
    for member in ["p1", "p2", "r1", "r2"] {
        accepted(&world, &services.api, "TWO", member).await?;
    }
    let causes = eventually("all are given up", SOON, async || -> Result<Option<Value>> {
        let all = ids(&json(&world, &["list"]).await?).len() == 4;
        Ok(if all { Some(json(&world, &["causes"]).await?) } else { None })
    })
    .await?;
    let named = |name: &str| {
        let rows = causes.as_array().into_iter().flatten();
        rows.filter(|row| row["cause"].as_str().is_some_and(|cause| cause.contains(name))).count()
    };
    assert_eq!((named("\"price_known\""), named("\"region_known\"")), (1, 1), "{causes}");
    assert_eq!(causes.as_array().map(Vec::len), Some(2), "two members with one reason are one cause: {causes}");
    let budgets: i64 = sqlx::query_scalar("SELECT count(*) FROM give_up_budgets").fetch_one(&world.db).await?;
    assert_eq!(budgets, 2);
    let told: i64 = sqlx::query_scalar("SELECT count(DISTINCT cause) FROM dlq_events").fetch_one(&world.db).await?;
    assert_eq!(told, 2, "alarms are counted by this");
    assert_eq!(ids(&json(&world, &["list", "--cause", "region_known"]).await?).len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_by_a_mistyped_name_says_so_and_fails() -> Result<()> {
    let world = World::new().await?;
    world.create_campaign("SPRING", 5, &[]).await?;
    let cause = Some("UNKNOWN P0001 no coupon for …");
    Entry { coupon: "SPRING", cause, reason: "no coupon for \"bad0050\"", ..Entry::default() }.plant(&world).await?;
    world.create_campaign("EMPTY", 5, &[]).await?;

    assert_eq!(ids(&json(&world, &["list", "--cause", "for \"BAD0050\""]).await?).len(), 1, "as it is printed");
    assert_eq!(ids(&json(&world, &["list", "--coupon", "EMPTY"]).await?).len(), 0, "a campaign without failures");
    let dry = ["--up-to", "9", "--dry-run"];
    let wrong: &[(&[&str], &str)] = &[
        (&["list", "--coupon", "SPRNG"], "no coupon SPRNG"),
        (&["list", "--cause", "typo"], "typo"),
        (&["list", "--dead-letters", "--coupon", "SPRNG"], "no coupon SPRNG"),
        (&["causes", "--coupon", "SPRNG"], "no coupon SPRNG"),
        (&["resolve", "--cause", "typo", dry[0], dry[1], dry[2]], "typo"),
        (&["ignore", "--cause", "typo", "--up-to", "9", "--reason", "x", "--by", "olga", "--yes"], "typo"),
        (&["compensate", "--coupon", "SPRNG", dry[0], dry[1], dry[2]], "no coupon SPRNG"),
        (&["audit", "--subject", "SPRING"], "coupons/SPRING"),
        (&["issued", "SPRNG"], "no coupon SPRNG"),
    ];
    for (words, said) in wrong {
        let failed = world.run("dlq-consumer", words).await?;
        assert!(failed.code == Some(1) && failed.stderr.contains(said), "{words:?}: {failed:?}");
    }
    assert_eq!(ids(&json(&world, &["audit", "--subject", "coupons/SPRING"]).await?).len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_and_a_member_are_found_in_rows_work_list_dead_letters_and_redis() -> Result<()> {
    let world = World::new().await?;
    let planted = Planted::healthy(&world, "FOUND").await?;
    sqlx::query("UPDATE coupons SET epoch = 1").execute(&world.db).await?;
    let issued = json(&world, &["find", &planted.a.to_string()]).await?;
    assert_eq!(
        (&issued["decisions"][0]["decision"], &issued["decisions"][0]["member_id"]),
        (&"ISSUED".into(), &"a".into())
    );
    assert_eq!(issued["holders"][0]["request_id"], planted.a.to_string());
    let steps: Vec<&str> =
        issued["steps"].as_array().into_iter().flatten().filter_map(|step| step["what"].as_str()).collect();
    assert!(steps.contains(&"Decided ISSUED") && issued["member_id"] == "a", "as the console tells it: {issued}");
    let given_up = json(&world, &["find", "--member", "c"]).await?;
    assert_eq!(given_up["decisions"][0]["decision"], "COMPENSATED", "{given_up}");
    assert_eq!(given_up["entries"][0]["request_id"], planted.c.to_string());
    assert_eq!(given_up["holders"], json!([]), "the unit has gone back");
    assert!(given_up["requests"][0]["sentence"].is_string() && given_up["campaigns"].is_array(), "{given_up}");
    let by_request = json(&world, &["find", &planted.c.to_string()]).await?;
    assert_eq!((ids(&by_request["entries"]).len(), ids(&by_request["dead_letters"]).len()), (1, 1), "{by_request}");
    // Reserved, and decided by nobody yet.
    let reserved = Uuid::now_v7();
    world.stock.set_holder("FOUND", "d", Some(reserved)).await?;
    let found = json(&world, &["find", "--member", "d"]).await?;
    assert_eq!(found["holders"][0]["request_id"], reserved.to_string(), "{found}");
    let table = world.run("dlq-consumer", &["find", "--member", "c"]).await?.succeeded()?;
    assert!(table.contains("Decisions\n") && table.contains("Entries of the work list\n"), "{table}");
    assert!(table.contains("\nRequests\n") && table.contains("to tell the member"), "{table}");
    let nothing = world.run("dlq-consumer", &["find", &Uuid::now_v7().to_string()]).await?;
    assert!(nothing.code == Some(1) && nothing.stderr.contains("nothing is known"), "{nothing:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_campaign_is_streamed_as_csv_or_json_lines_whole_and_in_order() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("HELD-BY", 5_000).await?;
    sqlx::query(
        "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
         SELECT coupon_id, gen_random_uuid(), 'member-' || n, 'ISSUED', 1, n, now(), now()
         FROM coupons, generate_series(1, 2500) AS n",
    )
    .execute(&world.db)
    .await?;
    let csv = world.run("dlq-consumer", &["issued", "HELD-BY"]).await?.succeeded()?;
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2_501, "member_id,request_id,reserved_at,decided_at,expires_at"));
    let members: std::collections::BTreeSet<&str> =
        lines[1..].iter().filter_map(|line| line.split(',').next()).collect();
    assert_eq!(members.len(), 2_500, "each once");
    let jsonl = world.run("dlq-consumer", &["issued", "HELD-BY", "--output", "jsonl"]).await?.succeeded()?;
    let rows: Vec<Value> = jsonl.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    assert_eq!(rows.len(), 2_500);
    rows[0]["request_id"].as_str().context("a request id")?.parse::<Uuid>()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reason_that_is_cut_says_so_and_wide_prints_it_whole() -> Result<()> {
    let world = World::new().await?;
    let reason = format!("{} end of the reason", "long ".repeat(20));
    Entry { reason: &reason, ..Entry::default() }.plant(&world).await?;
    let cut = world.run("dlq-consumer", &["list"]).await?.succeeded()?;
    assert!(cut.contains("long…") || cut.contains("long …"), "{cut}");
    assert!(!cut.contains("end of the reason"), "{cut}");
    let wide = world.run("dlq-consumer", &["list", "--wide"]).await?.succeeded()?;
    assert!(wide.contains("end of the reason") && !wide.contains('…'), "{wide}");
    Letter { text: &reason, ..Letter::default() }.plant(&world).await?;
    let cut = world.run("dlq-consumer", &["list", "--dead-letters"]).await?.succeeded()?;
    let wide = world.run("dlq-consumer", &["list", "--dead-letters", "--wide"]).await?.succeeded()?;
    // The text stands in the column of the member too, which is never cut.
    let whole = |table: &str| table.matches("end of the reason").count();
    assert_eq!((whole(&cut), whole(&wide)), (1, 2), "{cut}{wide}");
    Ok(())
}
