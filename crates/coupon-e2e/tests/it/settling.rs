//! The operators' work list, by the real command: settling, for one row and for many.

use anyhow::{Context, Result};
use coupon_e2e::{failures::FailMode, wait::eventually, world::World};
use serde_json::Value;

use crate::{
    SOON, Services,
    rows::{Entry, Letter, ids, json},
    write::accepted,
};

async fn count(world: &World, condition: &str) -> Result<i64> {
    let select = format!("SELECT count(*) FROM failed_coupon_issues WHERE {condition}");
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(select)).fetch_one(&world.db).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_request_is_listed_shown_and_settled_once_with_who_and_why() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LISTED", 10).await?;
    world.fail_campaign("LISTED", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    for member in ["first", "second"] {
        accepted(&world, &services.api, "LISTED", member).await?;
    }
    let rows = eventually("both are on the list, their units back", SOON, async || -> Result<Option<Value>> {
        let rows = json(&world, &["list"]).await?;
        let back = rows.as_array().into_iter().flatten().filter(|row| row["given_back_at"].is_string()).count();
        Ok((back == 2).then_some(rows))
    })
    .await?;
    assert!(rows[0]["status"] == "PENDING" && rows[1]["coupon_code"] == "LISTED", "{rows}");
    let [newer, older] = [&rows[0], &rows[1]].map(|row| row["id"].to_string());

    let shown = world.run("dlq-consumer", &["show", &older]).await?.succeeded()?;
    assert!(shown.contains("PENDING") && shown.contains("23514"), "{shown}");
    let resolve = ["resolve", &older, "--by", "olga", "--reason", "issued by hand"];
    world.run("dlq-consumer", &resolve).await?.succeeded()?;
    world.run("dlq-consumer", &["ignore", &newer, "--by", "olga", "--reason", "a test member"]).await?.succeeded()?;

    let repeated = world.run("dlq-consumer", &resolve).await?;
    assert!(repeated.code == Some(0) && repeated.stderr.contains("nothing was changed"), "{repeated:?}");
    let again = world.run("dlq-consumer", &["ignore", &older, "--by", "olga", "--reason", "again"]).await?;
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("RESOLVED") && again.stderr.contains("PENDING"), "{}", again.stderr);
    let nothing = world.run("dlq-consumer", &["resolve", "999999", "--by", "olga", "--reason", "x"]).await?;
    assert!(nothing.code == Some(1) && nothing.stderr.contains("999999"), "{}", nothing.stderr);
    for reason in [&["--reason", "  "][..], &[]] {
        let words: Vec<&str> = ["resolve", &older, "--by", "olga"].iter().chain(reason).copied().collect();
        let silent = world.run("dlq-consumer", &words).await?;
        assert!(silent.code == Some(2) && silent.stderr.contains("--reason"), "{}", silent.stderr);
    }
    let nobody = world.run("dlq-consumer", &["resolve", &older, "--reason", "x"]).await?;
    assert!(nobody.code == Some(2) && nobody.stderr.contains("--by"), "{}", nobody.stderr);

    assert_eq!(ids(&json(&world, &["list", "--status", "PENDING"]).await?).len(), 0);
    let resolved = json(&world, &["list", "--status", "RESOLVED"]).await?;
    assert_eq!((&resolved[0]["resolved_by"], &resolved[0]["resolution"]), (&"olga".into(), &"issued by hand".into()));

    world.run("dlq-consumer", &["reopen", &newer, "--by", "otto", "--reason", "a real one"]).await?.succeeded()?;
    let reopened = json(&world, &["show", &newer]).await?;
    assert_eq!((&reopened["status"], &reopened["resolution"]), (&"PENDING".into(), &Value::Null), "{reopened}");
    let all = ["reopen", "--coupon", "LISTED", "--up-to", &newer, "--by", "otto", "--reason", "no", "--yes"];
    world.run("dlq-consumer", &all).await?.succeeded()?;
    assert_eq!(count(&world, "status = 'RESOLVED'").await?, 1, "a filter reopens nothing that was put right");

    let audit = json(&world, &["audit"]).await?;
    let told: Vec<[&str; 4]> = audit
        .as_array()
        .context("an array")?
        .iter()
        .filter_map(|row| {
            Some([row["verb"].as_str()?, row["actor"].as_str()?, row["reason"].as_str()?, row["subject"].as_str()?])
        })
        .filter(|[verb, ..]| !verb.starts_with("coupon."))
        .collect();
    let [newer, older] = [newer, older].map(|id| format!("failed_coupon_issues/{id}"));
    let expected = [
        ["reopen", "otto", "a real one", &newer],
        ["ignore", "olga", "a test member", &newer],
        ["resolve", "olga", "issued by hand", &older],
    ];
    assert_eq!(told, expected);
    assert_eq!(audit[0]["change"], serde_json::json!({ "from": "IGNORED", "to": "PENDING" }));
    for (words, expected) in [
        (["--subject", &older], 1),
        (["--subject", "failed_coupon_issues"], 3),
        (["--by", "olga"], 2),
        (["--verb", "reopen"], 1),
        (["--limit", "2"], 2),
        (["--before", &audit[0]["id"].to_string()], audit.as_array().map_or(0, Vec::len) - 1),
    ] {
        let found = json(&world, &["audit", words[0], words[1]]).await?;
        assert_eq!(ids(&found).len(), expected, "{words:?}: {found}");
    }
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_settled_up_to_the_number_that_was_seen_and_a_kill_repeats_nothing() -> Result<()> {
    let world = World::new().await?;
    let mut numbers = Vec::new();
    for number in 0..1200 {
        let coupon = if number % 400 == 0 { "OTHER" } else { "SPRING" };
        numbers.push(Entry { coupon, ..Entry::default() }.plant(&world).await?);
    }
    // Of the first 1,100, three are of OTHER.
    let up_to = numbers[1099].to_string();
    let ignore = ["ignore", "--coupon", "SPRING", "--up-to", &up_to, "--reason", "a load test", "--by", "olga"];
    let with = |more: &'static str| -> Vec<&str> { ignore.iter().copied().chain([more]).collect() };

    let dry = world.run("dlq-consumer", &with("--dry-run")).await?.succeeded()?;
    assert_eq!(dry.trim(), "1097 entries would become IGNORED");
    let unasked = world.run("dlq-consumer", &ignore).await?;
    assert!(unasked.code == Some(2) && unasked.stderr.contains("--yes"), "{unasked:?}");
    for (words, said) in [
        (&["ignore", "--coupon", "SPRING", "--reason", "x", "--by", "olga", "--yes"][..], "--up-to"),
        (&["ignore", "--reason", "x", "--by", "olga", "--yes"], "say which"),
        (&["ignore", "1", "--coupon", "SPRING", "--reason", "x", "--by", "olga", "--yes"], "not both"),
        (&["ignore", "1", "--up-to", "9", "--reason", "x", "--by", "olga", "--yes"], "not both"),
    ] {
        let wrong = world.run("dlq-consumer", words).await?;
        assert!(wrong.code == Some(2) && wrong.stderr.contains(said), "{words:?}: {wrong:?}");
    }
    assert_eq!(count(&world, "status <> 'PENDING'").await?, 0, "nothing so far has changed anything");

    let crash = [("COUPON_CRASH_AT", "settle entries:after#2")];
    let killed = world.run_with("dlq-consumer", &with("--yes"), &crash).await?;
    assert!(killed.status.contains("signal"), "{killed:?}");
    assert_eq!(count(&world, "status = 'IGNORED'").await?, 1000, "two batches");
    let rest = world.run("dlq-consumer", &with("--yes")).await?;
    assert!(rest.code == Some(0) && rest.stderr.contains("97 entries became IGNORED"), "{rest:?}");
    assert_eq!(
        count(&world, "status = 'IGNORED' AND coupon_code = 'SPRING' AND resolution = 'a load test'").await?,
        1097
    );
    assert_eq!(count(&world, "status = 'PENDING'").await?, 103, "what came later, and the others");
    let audited: (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT subject) FROM operator_audit WHERE actor = 'olga'")
            .fetch_one(&world.db)
            .await?;
    assert_eq!(audited, (1097, 1097), "one row in the audit for each change");

    let reopen = ["reopen", "--up-to", &up_to, "--since", "1h", "--reason", "no", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &reopen).await?.succeeded()?;
    assert_eq!(count(&world, "status = 'PENDING' AND resolved_by IS NULL AND resolution IS NULL").await?, 1200);
    let some = numbers[..3].iter().map(ToString::to_string).collect::<Vec<_>>();
    let by_number = ["resolve", &some[0], &some[1], &some[2], "--reason", "done", "--by", "olga"];
    world.run("dlq-consumer", &by_number).await?.succeeded()?;
    assert_eq!(count(&world, "status = 'RESOLVED'").await?, 3);
    Ok(())
}

/// A HELD request was accepted and is undecided: to ignore it would lose an accepted request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_letters_can_be_settled_and_held_ones_only_decided() -> Result<()> {
    let world = World::new().await?;
    let mut numbers = Vec::new();
    for status in ["PARKED", "PARKED", "HELD", "COMPENSATED"] {
        numbers.push(Letter { status, ..Letter::default() }.plant(&world).await?.to_string());
    }
    let [ignored, resolved, held, compensated] = &numbers[..] else { anyhow::bail!("four") };
    let settle = async |verb: &str, id: &str| {
        world.run("dlq-consumer", &[verb, "--dead-letter", id, "--reason", "looked at", "--by", "olga"]).await
    };
    settle("ignore", ignored).await?.succeeded()?;
    settle("resolve", resolved).await?.succeeded()?;
    let refused = settle("ignore", held).await?;
    assert!(refused.code == Some(1) && refused.stderr.contains("dlq-consumer compensate"), "{refused:?}");
    assert_eq!(settle("resolve", held).await?.code, Some(1));
    assert_eq!(settle("ignore", compensated).await?.code, Some(1));
    let all = ["ignore", "--dead-letters", "--up-to", "99", "--reason", "x", "--by", "olga", "--yes"];
    let all = world.run("dlq-consumer", &all).await?;
    assert!(all.code == Some(0) && all.stderr.contains("0 dead letters became"), "{all:?}");
    let standing: Vec<String> =
        sqlx::query_scalar("SELECT status FROM dlq_events ORDER BY id").fetch_all(&world.db).await?;
    assert_eq!(standing, ["IGNORED", "RESOLVED", "HELD", "COMPENSATED"]);
    settle("reopen", ignored).await?.succeeded()?;
    let audited = json(&world, &["show", ignored, "--dead-letter"]).await?;
    assert_eq!((&audited["status"], &audited["audit"][1]["change"]["to"]), (&"PARKED".into(), &"IGNORED".into()));
    Ok(())
}
