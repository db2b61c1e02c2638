//! The operators' work list, by the real command: looking.

use anyhow::{Context, Result};
use coupon_e2e::{failures::FailMode, wait::eventually, world::World};
use serde_json::Value;

use crate::{
    SOON, Services,
    rows::{Entry, Letter, compensate, ids, json, replay},
    write::accepted,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_filter_chooses_and_pages_follow_each_other() -> Result<()> {
    let world = World::new().await?;
    let full = Some("PERMANENT 53100 Disk full");
    let old = Entry { coupon: "SPRING", days: 3, ..Entry::default() }.plant(&world).await?;
    let disk = Entry { coupon: "SPRING", member: "alice", cause: full, class: "PERMANENT", ..Entry::default() };
    let disk = disk.plant(&world).await?;
    let done = Entry { coupon: "AUTUMN", status: "IGNORED", ..Entry::default() }.plant(&world).await?;
    let unnamed = Entry { cause: None, reason: "written by an older build", ..Entry::default() }.plant(&world).await?;
    let parked = Letter { coupon: Some("SPRING"), text: "broken bytes", ..Letter::default() }.plant(&world).await?;
    let held = Letter { status: "HELD", days: 3, ..Letter::default() }.plant(&world).await?;

    let long_ago = (chrono::Utc::now() - chrono::TimeDelta::days(2)).to_rfc3339();
    let choices: &[(&[&str], &[i64])] = &[
        (&[], &[unnamed, done, disk, old]),
        (&["--status", "PENDING"], &[unnamed, disk, old]),
        (&["--coupon", "SPRING"], &[disk, old]),
        (&["--member", "alice"], &[disk]),
        (&["--cause", "disk FULL"], &[disk]),
        (&["--cause", "older build"], &[unnamed]),
        (&["--class", "PERMANENT"], &[disk]),
        (&["--since", "2d"], &[unnamed, done, disk]),
        (&["--until", "48h"], &[old]),
        (&["--until", &long_ago, "--coupon", "SPRING"], &[old]),
        (&["--coupon", "SPRING", "--status", "IGNORED"], &[]),
        (&["--limit", "2"], &[unnamed, done]),
        (&["--dead-letters"], &[held, parked]),
        (&["--dead-letters", "--coupon", "SPRING", "--cause", "BROKEN"], &[parked]),
        (&["--dead-letters", "--status", "HELD", "--until", "1d"], &[held]),
        (&["--dead-letters", "--before", &held.to_string()], &[parked]),
    ];
    for (words, expected) in choices {
        let words: Vec<&str> = ["list"].iter().chain(words.iter()).copied().collect();
        assert_eq!(ids(&json(&world, &words).await?), *expected, "{words:?}");
    }
    let page = world.run("dlq-consumer", &["list", "--limit", "2"]).await?;
    let more = format!("--before E{done}");
    assert!(page.stderr.contains(&more) && !page.stdout.contains(&more), "{page:?}");
    let next = json(&world, &["list", "--limit", "2", "--before", &done.to_string()]).await?;
    assert_eq!(ids(&next), [disk, old]);

    let csv = world.run("dlq-consumer", &["list", "--coupon", "SPRING", "--output", "csv"]).await?.succeeded()?;
    let lines: Vec<&str> = csv.lines().collect();
    assert!(lines[0].starts_with("id,coupon_code,member_id,request_id,status,"), "{csv}");
    assert!(lines.len() == 3 && lines[1].starts_with(&format!("{disk},SPRING,alice,")), "{csv}");
    let none = world.run("dlq-consumer", &["list", "--coupon", "WINTER", "--output", "csv"]).await?;
    assert!(none.code == Some(1) && none.stderr.contains("there is no coupon WINTER"), "{none:?}");
    assert_eq!(none.stdout.lines().collect::<Vec<_>>(), lines[..1], "a header even when there is nothing");

    for (words, said) in [
        (["list", "--status", "LOST"], "PENDING, RESOLVED, IGNORED"),
        (["list", "--class", "LOST"], "PERMANENT"),
        (["list", "--since", "yesterday"], "RFC 3339"),
        (["list", "--coupon", "no code"], "coupon code"),
    ] {
        let wrong = world.run("dlq-consumer", &words).await?;
        assert!(wrong.code == Some(2) && wrong.stderr.contains(said) && wrong.stdout.is_empty(), "{wrong:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_and_causes_say_how_much_waits_since_when_and_why() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("PLANTED", 10).await?;
    let nothing = json(&world, &["stats"]).await?;
    assert_eq!((&nothing["pending"], &nothing["oldest_pending_at"]), (&0.into(), &Value::Null));
    let full = Some("UNKNOWN 53100 disk full");
    Entry { cause: full, days: 2, ..Entry::default() }.plant(&world).await?;
    let newest = Entry { cause: full, coupon: "SPRING", ..Entry::default() }.plant(&world).await?;
    Entry { cause: None, ..Entry::default() }.plant(&world).await?;
    Entry { status: "RESOLVED", days: 9, ..Entry::default() }.plant(&world).await?;
    for status in ["HELD", "HELD", "PARKED"] {
        Letter { status, told: status == "HELD", text: "cannot be read", ..Letter::default() }.plant(&world).await?;
    }
    sqlx::query("INSERT INTO alarm_notices (cause, message, command, created_at) VALUES ('c', 'm', 'x', now())")
        .execute(&world.db)
        .await?;
    compensate(&world, uuid::Uuid::now_v7(), false).await?;
    compensate(&world, uuid::Uuid::now_v7(), true).await?;

    let stats = json(&world, &["stats"]).await?;
    for (figure, value) in [("pending", 3), ("held", 2), ("parked", 1), ("alarms_unsent", 2), ("not_given_back", 1)] {
        assert_eq!(stats[figure], value, "{figure} of {stats}");
    }
    let age = stats["oldest_pending_seconds"].as_i64().context("an age")?;
    assert!((2 * 86_400..3 * 86_400).contains(&age), "{stats}");
    let group = |name: &str, count: i64| serde_json::json!({ "name": name, "count": count });
    let by_cause = serde_json::json!([group("UNKNOWN 53100 disk full", 2), group("UNKNOWN P0001", 1)]);
    assert_eq!(stats["by_cause"], by_cause);
    assert_eq!(stats["by_coupon"], serde_json::json!([group("PLANTED", 2), group("SPRING", 1)]));
    let csv = world.run("dlq-consumer", &["stats", "--output", "csv"]).await?.succeeded()?;
    assert!(csv.contains("held,,2") && csv.contains("by_cause,UNKNOWN 53100 disk full,2"), "{csv}");
    assert_eq!(stats["held_by_cause"], serde_json::json!([group("cannot be read", 2)]));
    assert_eq!(stats["parked_by_cause"], serde_json::json!([group("cannot be read", 1)]));
    let table = world.run("dlq-consumer", &["stats"]).await?.succeeded()?;
    assert!(table.contains("Held by cause") && table.contains("Parked by cause"), "{table}");
    assert!(table.contains("2 d 0 h ago") && table.contains("UNKNOWN 53100 disk full"), "{table}");

    let causes = json(&world, &["causes", "--status", "PENDING"]).await?;
    assert_eq!((&causes[0]["cause"], &causes[0]["count"]), (&"UNKNOWN 53100 disk full".into(), &2.into()), "{causes}");
    assert_eq!(causes[0]["sample_id"], newest);
    assert!(causes[0]["first_seen"].as_str() < causes[0]["last_seen"].as_str(), "{causes}");
    let spring = json(&world, &["causes", "--coupon", "SPRING"]).await?;
    assert_eq!((spring.as_array().map(Vec::len), &spring[0]["count"]), (Some(1), &1.into()), "{spring}");
    let letters = json(&world, &["causes", "--dead-letters"]).await?;
    assert_eq!((&letters[0]["cause"], &letters[0]["count"]), (&"cannot be read".into(), &3.into()), "{letters}");
    Ok(())
}

/// A replay that is compensated too does not lengthen the list: the entry it replays stays, with the replay closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_given_up_is_born_resolved_and_its_entry_stays_on_the_list() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AGAIN", 1).await?;
    world.fail_member("AGAIN", "unlucky", FailMode::Permanently).await?;
    let Services { api, issue_consumer: _issue, dlq_consumer } = Services::start(&world).await?;
    let first = accepted(&world, &api, "AGAIN", "unlucky").await?.request_id.context("a request id")?;
    let entry = eventually("it is on the list, its unit back", SOON, async || -> Result<Option<i64>> {
        let rows = json(&world, &["list"]).await?;
        Ok(rows[0]["given_back_at"].is_string().then(|| ids(&rows)[0]))
    })
    .await?;
    dlq_consumer.terminate(SOON).await?;
    let second = accepted(&world, &api, "AGAIN", "unlucky").await?.request_id.context("a request id")?;
    assert_ne!(first, second);
    let link = replay(&world, entry, Some("RESERVED"), 0).await?;
    sqlx::query("UPDATE replays SET request_id = $1, coupon_code = 'AGAIN' WHERE request_id = $2")
        .bind(second)
        .bind(link)
        .execute(&world.db)
        .await?;
    let _dlq = world.start_dlq_consumer().await?;
    let born = eventually("the replay is given up", SOON, async || -> Result<Option<i64>> {
        let rows = json(&world, &["list", "--status", "RESOLVED"]).await?;
        Ok(ids(&rows).first().copied())
    })
    .await?;

    let born = json(&world, &["show", &born.to_string()]).await?;
    assert_eq!((&born["replay_of"], &born["request_id"]), (&entry.into(), &second.to_string().into()), "{born}");
    assert_eq!(born["resolution"], format!("a replay of entry E{entry}, which stays on the list"));
    assert!(born["cause"].as_str().is_some_and(|cause| cause.starts_with("PERMANENT 23514 ")), "{born}");
    let root = json(&world, &["show", &entry.to_string()]).await?;
    assert_eq!((&root["status"], &root["replays"][0]["outcome"]), (&"PENDING".into(), &"COMPENSATED".into()), "{root}");
    assert_eq!((&root["replays"][0]["failed_issue_id"], ids(&root["dead_letters"]).len()), (&born["id"], 1), "{root}");
    let letter = ids(&root["dead_letters"])[0].to_string();
    let letter = json(&world, &["show", &letter, "--dead-letter"]).await?;
    assert_eq!((&letter["entry"]["id"], &letter["status"]), (&entry.into(), &"COMPENSATED".into()), "{letter}");
    assert!(letter["payload"].as_str().is_some_and(|payload| payload.contains(&first.to_string())), "{letter}");
    assert!(letter["headers"].as_array().is_some_and(|headers| !headers.is_empty()), "{letter}");
    let shown = world.run("dlq-consumer", &["show", &entry.to_string()]).await?.succeeded()?;
    assert!(shown.contains("Replays\n") && shown.contains("Dead letters\n"), "{shown}");
    world.quiet(SOON, &[]).await?;
    Ok(())
}

/// Stored text comes from outside: members, errors, and what operators typed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escapes_in_stored_text_are_shown_and_never_executed() -> Result<()> {
    let nasty = "=1\u{1b}[2J\u{9b}31mred\u{7}\r\nid 99 \u{1b}]0;owned\u{7}";
    let world = World::new().await?;
    let text = Entry { member: nasty, class: nasty, cause: Some(nasty), reason: nasty, ..Entry::default() };
    let pending = text.clone().plant(&world).await?.to_string();
    let resolved = Entry { status: "RESOLVED", ..text }.plant(&world).await?.to_string();
    let request_id: uuid::Uuid =
        sqlx::query_scalar("SELECT request_id FROM failed_coupon_issues LIMIT 1").fetch_one(&world.db).await?;
    let letter = Letter { text: nasty, request_id: Some(request_id), ..Letter::default() };
    let letter = letter.plant(&world).await?.to_string();
    sqlx::query(
        "INSERT INTO operator_audit (actor, verb, subject, change, reason)
         SELECT $1, $1, 'failed_coupon_issues/' || id, jsonb_build_object('from', $1), $1 FROM failed_coupon_issues",
    )
    .bind(nasty)
    .execute(&world.db)
    .await?;
    for words in [
        &["list"][..],
        &["list", "--dead-letters"],
        &["show", &pending],
        &["show", &resolved],
        &["show", &letter, "--dead-letter"],
        &["causes"],
        &["causes", "--dead-letters"],
        &["stats"],
        &["audit"],
    ] {
        for output in ["table", "csv", "json"] {
            let words: Vec<&str> = words.iter().copied().chain(["--output", output]).collect();
            let printed = world.run("dlq-consumer", &words).await?.succeeded()?;
            let executed = printed.chars().find(|character| character.is_control() && *character != '\n');
            assert_eq!(executed, None, "{words:?}: {printed}");
            assert!(!printed.lines().any(|line| line.trim_start().starts_with("id 99")), "{words:?}: {printed}");
            if output == "json" {
                let printed: Value = serde_json::from_str(&printed)?;
                assert!(holds(&printed, nasty), "{words:?} keeps the text: {printed}");
            } else {
                assert!(printed.contains("\\u{1b}[2J") || printed.contains("\\u001b[2J"), "{words:?}: {printed}");
            }
            assert!(output != "csv" || printed.contains("'=1") && !printed.contains(",=1"), "{words:?}: {printed}");
        }
    }
    Ok(())
}

fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(held) => held == text,
        Value::Array(values) => values.iter().any(|value| holds(value, text)),
        Value::Object(fields) => fields.values().any(|value| holds(value, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
