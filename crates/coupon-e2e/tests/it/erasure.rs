//! E: a member is erased and exported, by the real command and by the admin API.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    console::{Console, operator},
    failures,
    oracle::{Kind, verdict},
    process::{Process, command::Output},
    wait::eventually,
    world::World,
};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::{
    SOON,
    alarms::all_sent,
    erasure_places::{in_address, named, plant, postgresql, unreadable},
    issued_rows,
    replay::{given_up, replay},
    rows::Entry,
    write::accepted,
};

/// Unlikely, and written otherwise in JSON, in an address and in a pattern.
const MEMBER: &str = "kwyjibo\"é|/7 zq";
pub(crate) const KEY: &str = "erasure.key_file";

/// Makes a file with a key, and returns its path.
pub(crate) fn key(world: &World, name: &str) -> Result<String> {
    let path = world.folder().join(name);
    fs::write(&path, format!("{name} ").repeat(32))?;
    Ok(path.display().to_string())
}

/// Runs `dlq-consumer member …` with this key.
pub(crate) async fn member(world: &World, key: &str, words: &[&str]) -> Result<Output> {
    let setting = format!("{KEY}={key}");
    world.run("dlq-consumer", &[&["--set", setting.as_str(), "member"], words, &["--by", "olga"]].concat()).await
}

pub(crate) async fn erase(world: &World, key: &str, id: &str) -> Result<Output> {
    member(world, key, &["erase", id, "--reason", "ticket 4711", "--yes"]).await
}

async fn run(world: &World, words: &[&str]) -> Result<()> {
    world.run("dlq-consumer", words).await?.succeeded()?;
    Ok(())
}

/// Tables in which services write by themselves.
fn at_rest(tables: Vec<(String, Vec<String>)>) -> BTreeMap<String, Vec<String>> {
    let moving = ["job_workers", "write_probe", "reconciliations", "alarm_causes"];
    tables.into_iter().filter(|(table, _)| !moving.iter().any(|name| table.ends_with(name))).collect()
}

pub(crate) async fn number(world: &World, select: &str) -> Result<i64> {
    Ok(sqlx::query_scalar(AssertSqlSafe(select.to_owned())).fetch_one(&world.db).await?)
}

/// Brings the member everywhere: a coupon in KEPT, a replayed request in HURT, a compensated one in LOST, and an unreadable record.
async fn seeded(world: &World, console: &Console, api: &Process) -> Result<()> {
    accepted(world, api, "KEPT", MEMBER).await?;
    accepted(world, api, "KEPT", "somebody else").await?;
    issued_rows(world, "KEPT", 2, SOON).await?;
    given_up(world, api, "HURT", &[MEMBER]).await?;
    given_up(world, api, "LOST", &[MEMBER]).await?;
    world.dlq.write(&unreadable(MEMBER)).await?;
    let parked = "SELECT coalesce(max(id), 0) FROM dlq_events WHERE status = 'PARKED'";
    let parked = eventually("it is parked", SOON, async || -> Result<Option<i64>> {
        Ok(Some(number(world, parked).await?).filter(|id| *id > 0))
    })
    .await?;
    plant(world, MEMBER).await?;

    let admin = operator(world, "ada", "admin").await?;
    let view = json!({ "name": "mine", "view": format!("/work?member={}", in_address(MEMBER)) });
    let saved = console.post("/filters/save").bearer_auth(&admin).json(&view).send().await?;
    ensure!(saved.status() == 200, "{}", saved.status());
    let viewer = operator(world, "vera", "viewer").await?;
    let denied = console.get(&format!("/members/{}", in_address(MEMBER))).bearer_auth(&viewer).send().await?;
    ensure!(denied.status() == 403, "{}", denied.status());

    // What still waits stands in the way, and so does a campaign that may open.
    let key = key(world, "erasure")?;
    let refused = erase(world, &key, MEMBER).await?;
    ensure!(refused.code == Some(1), "{refused:?}");
    for sentence in ["KEPT is OPEN", "is PENDING", &format!("dead letter D{parked} is PARKED")] {
        ensure!(refused.stderr.contains(sentence), "{sentence}: {}", refused.stderr);
    }
    ensure!(number(world, "SELECT count(*) FROM member_erasures").await? == 0);

    let entries: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM failed_coupon_issues ORDER BY coupon_code").fetch_all(&world.db).await?;
    let entries: Vec<String> = entries.iter().map(|id| format!("E{id}")).collect();
    let [hurt, lost] = &entries[..] else { anyhow::bail!("{entries:?} are two") };
    let (said, parked) = (format!("told {MEMBER}, who called"), format!("D{parked}"));
    replay(world, &[hurt]).await?.succeeded()?;
    run(world, &["resolve", lost, "--reason", &said, "--by", "olga"]).await?;
    run(world, &["ignore", "--dead-letter", &parked, "--reason", &said, "--by", "olga"]).await?;
    run(world, &["note", lost, &said, "--by", "olga"]).await?;
    for code in ["KEPT", "HURT", "LOST"] {
        world.coupon(&["close", code]).await?.succeeded()?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e_a_member_is_erased_everywhere_and_every_promise_holds_before_and_after() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    for code in ["KEPT", "HURT", "LOST"] {
        world.open_campaign(code, 5).await?;
    }
    let dlq_consumer = world.start_dlq_consumer().set("console.listen", console.address()).set("jobs.workers", 0);
    // The dead letters of HURT and LOST have one cause: the second is told of in its next digest, and stands in the way till then.
    let dlq_consumer = dlq_consumer.set("alarms.digest_ms", 500);
    let (api, _issue_consumer, _dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        dlq_consumer.into_future()
    )?;
    console.answers().await?;
    seeded(&world, &console, &api).await?;
    failures::uninstall(&world.db).await?;
    all_sent(&world).await?;
    let key = key(&world, "erasure")?;
    let unlabelled = [Kind::DeadLetterUnlabelled];
    let before = world.quiet(SOON, &unlabelled).await?;

    let exported = member(&world, &key, &["export", MEMBER]).await?.succeeded()?;
    let exported: Value = serde_json::from_str(&exported)?;
    assert_eq!(exported["member_id"], MEMBER);
    assert_eq!(exported["decisions"].as_array().map(Vec::len), Some(4), "{exported}");
    assert_eq!(exported["redis"].as_array().map(Vec::len), Some(2), "{exported}");
    for table in ["failed_coupon_issues", "dlq_events", "replays", "row_notes", "saved_filters", "plans", "jobs"] {
        assert!(exported["tables"][table].is_array(), "{table} is missing: {exported}");
    }
    let places = named(&world, MEMBER).await?.len();
    let dry = member(&world, &key, &["erase", MEMBER, "--dry-run", "--output", "json"]).await?.succeeded()?;
    let dry: Value = serde_json::from_str(&dry)?;
    let counted: Vec<(&str, i64, i64)> = (dry["campaigns"].as_array().into_iter().flatten())
        .filter_map(|row| {
            Some((row["coupon_code"].as_str()?, row["decisions"].as_i64()?, row["holder_entries"].as_i64()?))
        })
        .collect();
    assert_eq!(counted, [("LOST", 1, 0), ("HURT", 2, 1), ("KEPT", 1, 1)], "{dry}");
    assert!(dry["tables"]["dlq_events"] == 3 && dry["tables"]["failed_coupon_issues"] == 2, "{dry}");
    assert_eq!(named(&world, MEMBER).await?.len(), places, "a dry run changes nothing");

    let erased = erase(&world, &key, MEMBER).await?;
    assert!(erased.code == Some(0) && !erased.stderr.contains(MEMBER), "{erased:?}");
    assert_eq!(named(&world, MEMBER).await?, [""; 0]);
    let (pseudonym, status): (String, String) =
        sqlx::query_as("SELECT pseudonym, status FROM member_erasures").fetch_one(&world.db).await?;
    assert!(status == "DONE" && pseudonym.starts_with("erased-") && pseudonym.len() == 39, "{pseudonym} {status}");
    let audited: Vec<(String, Value)> =
        sqlx::query_as("SELECT subject, change FROM operator_audit WHERE verb = 'member.erase' ORDER BY id")
            .fetch_all(&world.db)
            .await?;
    assert!(audited.len() == 2 && audited.iter().all(|(subject, _)| *subject == format!("members/{pseudonym}")));
    assert_eq!(audited[1].1["counts"]["coupon_issues"], 4, "{audited:?}");

    // Whoever asked has another name now, in the answers too.
    let mut evidence = world.sources().collect(None).await?;
    evidence.answers.iter_mut().filter(|answer| answer.member == MEMBER).for_each(|answer| {
        answer.member.clone_from(&pseudonym);
    });
    let after = verdict(&evidence);
    after.must_hold_except(&unlabelled)?;
    assert_eq!((after.issued, after.compensated, after.stock), (before.issued, before.compensated, before.stock));
    run(&world, &["reconcile", "KEPT", "HURT", "LOST"]).await?;

    let rest = at_rest(postgresql(&world).await?);
    let again = erase(&world, &key, MEMBER).await?;
    assert!(again.code == Some(0) && again.stderr.contains("nothing was changed"), "{again:?}");
    assert_eq!(at_rest(postgresql(&world).await?), rest, "a second run changes nothing");
    let reopened = world.coupon(&["open", "KEPT"]).await?;
    assert!(reopened.code == Some(1) && reopened.stderr.contains("could get a second coupon"), "{reopened:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e_the_admin_api_exports_and_erases_with_the_id_typed_and_for_admins_alone() -> Result<()> {
    let (world, console) = (World::new().await?, Console::new()?);
    let key = key(&world, "erasure")?;
    let _dlq = world.start_dlq_consumer().set("console.listen", console.address()).set(KEY, &key).await?;
    console.answers().await?;
    let (admin, olga) = (operator(&world, "ada", "admin").await?, operator(&world, "olga", "operator").await?);
    Entry { member: MEMBER, status: "RESOLVED", ..Entry::default() }.plant(&world).await?;
    let path = format!("/members/{}", in_address(MEMBER));
    let ask = async |token: &str, body: Value| -> Result<(u16, Value)> {
        let request = console.post(&format!("{path}/erase")).bearer_auth(token).header("accept", "application/json");
        let answer = request.json(&body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    assert_eq!(ask(&olga, json!({ "reason": "ticket 4711", "typed": MEMBER })).await?.0, 403);
    let request = console.get(&format!("{path}/export")).bearer_auth(&admin).header("accept", "application/json");
    let exported: Value = request.send().await?.json().await?;
    assert_eq!(exported["tables"]["failed_coupon_issues"].as_array().map(Vec::len), Some(1), "{exported}");
    let (status, dry) = ask(&admin, json!({ "reason": "ticket 4711" })).await?;
    assert!(status == 200 && dry["tables"]["failed_coupon_issues"] == 1, "{status} {dry}");
    let (status, wrong) = ask(&admin, json!({ "reason": "ticket 4711", "typed": "somebody" })).await?;
    assert!(status == 400 && wrong["detail"].as_str().is_some_and(|detail| detail.contains("typed")), "{wrong}");
    assert!(!named(&world, MEMBER).await?.is_empty(), "nothing was changed so far");
    let (status, erased) = ask(&admin, json!({ "reason": "ticket 4711", "typed": MEMBER })).await?;
    assert!(status == 200 && erased["changed"]["failed_coupon_issues"] == 1, "{status} {erased}");
    assert!(named(&world, MEMBER).await?.is_empty());
    let by: Vec<String> = sqlx::query_scalar("SELECT DISTINCT actor FROM operator_audit WHERE verb LIKE 'member.%'")
        .fetch_all(&world.db)
        .await?;
    by.first().context("an audit")?;
    assert_eq!(by, ["ada"]);
    Ok(())
}
