//! The keys of events: turned on, rotated, in the right order and in the wrong one; and what is published again.

use anyhow::{Context, Result};
use coupon_e2e::{
    failures::FailMode,
    kafka::record::{Event, NewRecord},
    process::Process,
    wait::eventually,
    world::World,
};

use crate::{
    SOON, issued_rows,
    signed::{KEYS, SIGNATURE, codes, codes_come, key},
    write::accepted,
};

async fn consumers(world: &World, keys: &str) -> Result<(Process, Process)> {
    tokio::try_join!(
        world.start_issue_consumer().set(KEYS, keys).into_future(),
        world.start_dlq_consumer().set(KEYS, keys).into_future()
    )
}

async fn stop(processes: (Process, Process)) -> Result<()> {
    assert!(processes.0.terminate(SOON).await?.success());
    assert!(processes.1.terminate(SOON).await?.success());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_without_an_event_that_is_parked() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ROTATED", 9).await?;
    let (old, new) = (key(&world, "old")?, key(&world, "new")?);
    let api = world.start_api().set(KEYS, &old).await?;
    let with_old = consumers(&world, &old).await?;
    accepted(&world, &api, "ROTATED", "before").await?;
    issued_rows(&world, "ROTATED", 1, SOON).await?;
    // The consumers learn the new key first. While issuer-api is rolled out, both keys sign.
    stop(with_old).await?;
    let with_both = consumers(&world, &format!("{old},{new}")).await?;
    let rolled_out = world.start_api().set(KEYS, format!("{new},{old}")).await?;
    accepted(&world, &api, "ROTATED", "by-the-old-one").await?;
    accepted(&world, &rolled_out, "ROTATED", "by-the-new-one").await?;
    issued_rows(&world, "ROTATED", 3, SOON).await?;
    assert!(api.terminate(SOON).await?.success());
    stop(with_both).await?;
    let _with_new = consumers(&world, &new).await?;
    accepted(&world, &rolled_out, "ROTATED", "after").await?;
    issued_rows(&world, "ROTATED", 4, SOON).await?;
    assert_eq!(codes(&world, "PARKED").await?.len(), 0);
    world.quiet(SOON, &[]).await?;
    Ok(())
}

/// The mistake that parks events of members: it costs time, and nobody a coupon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rotation_in_the_wrong_order_every_accepted_member_gets_the_coupon() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("WRONG", 9).await?;
    let (old, new) = (key(&world, "old")?, key(&world, "new")?);
    let (unsigned, signed_by_new) =
        tokio::try_join!(world.start_api().into_future(), world.start_api().set(KEYS, &new).into_future())?;
    let with_old = consumers(&world, &old).await?;
    accepted(&world, &unsigned, "WRONG", "nobody-signs").await?;
    accepted(&world, &signed_by_new, "WRONG", "too-early").await?;
    codes_come(&world, "PARKED", &[("EVENT_UNSIGNED", 1), ("EVENT_UNKNOWN_KEY", 1)]).await?;
    assert!(unsigned.terminate(SOON).await?.success());
    stop(with_old).await?;
    let both = format!("{old},{new}");
    let _with_both = consumers(&world, &both).await?;
    let keys = format!("{KEYS}={both}");
    // Redis knows who holds a coupon, whatever became of the records: they are published again, and signed.
    let reconciled = ["--set", &keys, "reconcile", "WRONG", "--apply", "--by", "olga"];
    world.run("dlq-consumer", &reconciled).await?;
    issued_rows(&world, "WRONG", 2, SOON).await?;
    // The dead letter whose key is known by now is only a repetition, the unsigned one stays refused.
    let all =
        ["--set", &keys, "replay", "--dead-letters", "--up-to", "D99", "--yes", "--reason", "keys", "--by", "olga"];
    let replayed = world.run("dlq-consumer", &all).await?;
    assert!(replayed.stderr.contains("1 can be replayed, refused: EVENT_UNSIGNED 1"), "{replayed:?}");
    codes_come(&world, "RECOVERED", &[("EVENT_UNKNOWN_KEY", 1)]).await?;
    codes_come(&world, "PARKED", &[("EVENT_UNSIGNED", 1)]).await?;
    issued_rows(&world, "WRONG", 2, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_signing_is_turned_on_unsigned_events_are_issued_and_counted_and_forged_ones_parked() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("ON", 9).await?;
    let key = key(&world, "ours")?;
    let (issue_consumer, _dlq_consumer, not_yet, signs) = tokio::try_join!(
        world.start_issue_consumer().set(KEYS, &key).set("events.require_signature", false).into_future(),
        world.start_dlq_consumer().set(KEYS, &key).set("events.require_signature", false).into_future(),
        world.start_api().into_future(),
        world.start_api().set(KEYS, &key).into_future()
    )?;
    accepted(&world, &not_yet, "ON", "unsigned").await?;
    accepted(&world, &signs, "ON", "signed").await?;
    let signature = vec![(SIGNATURE.to_owned(), Some(b"v1;00000000;A".to_vec()))];
    let forged = NewRecord { headers: signature, ..NewRecord::event(&Event::of("ON", "thief", 1)) };
    world.topic.write(&forged).await?;
    issued_rows(&world, "ON", 2, SOON).await?;
    codes_come(&world, "PARKED", &[("EVENT_FORGED", 1)]).await?;
    assert_eq!(issue_consumer.metric("coupon_events_unsigned_total", "").await?, Some(1.0));
    assert_eq!(issue_consumer.metric("coupon_events_forged_total", "").await?, Some(1.0));
    issued_rows(&world, "ON", 2, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_relay_publishes_for_an_outage_and_for_a_replay_is_signed() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AGAIN", 9).await?;
    let key = key(&world, "ours")?;
    let rule = world.fail_member("AGAIN", "unlucky", FailMode::Permanently).await?;
    let api = world.start_api().set(KEYS, &key).set("kafka.properties.message.timeout.ms", 1_500).await?;
    // The topic goes with what was published, and a request comes while there is none.
    accepted(&world, &api, "AGAIN", "lost").await?;
    world.topic.delete().await?;
    accepted(&world, &api, "AGAIN", "meanwhile").await?;
    world.topic.create(4, &[]).await?;
    let _consumers = consumers(&world, &key).await?;
    issued_rows(&world, "AGAIN", 1, SOON * 2).await?;
    let keys = format!("{KEYS}={key}");
    world.run("dlq-consumer", &["--set", &keys, "reconcile", "AGAIN", "--apply", "--by", "olga"]).await?;
    issued_rows(&world, "AGAIN", 2, SOON).await?;

    accepted(&world, &api, "AGAIN", "unlucky").await?;
    eventually("the request is compensated and given back", SOON * 2, async || -> Result<bool> {
        let given_back = "SELECT count(*) FROM coupon_issues WHERE given_back_at IS NOT NULL";
        Ok(sqlx::query_scalar::<_, i64>(given_back).fetch_one(&world.db).await? == 1)
    })
    .await?;
    rule.lift().await?;
    let entry: i64 = sqlx::query_scalar("SELECT id FROM failed_coupon_issues").fetch_one(&world.db).await?;
    let entry = format!("E{entry}");
    let replay = ["--set", &keys, "replay", &entry, "--yes", "--reason", "put right", "--by", "olga"];
    world.run("dlq-consumer", &replay).await?.succeeded()?;
    issued_rows(&world, "AGAIN", 3, SOON).await?;
    let records = world.topic.read().await?;
    assert!(records.len() >= 4 && records.iter().all(|record| record.header(SIGNATURE).is_some()), "{records:?}");
    let letters = world.dlq.read().await?;
    let letter = letters.first().context("the dead letter of the unlucky one")?;
    let original = records.iter().find(|record| record.value == letter.value).context("its record")?;
    assert_eq!(letter.header(SIGNATURE), original.header(SIGNATURE));
    assert_eq!(codes(&world, "PARKED").await?.len(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_without_a_key_ends_each_service_with_a_sentence_that_names_the_setting() -> Result<()> {
    let world = World::new().await?;
    let short = world.folder().join("short.key").display().to_string();
    std::fs::write(&short, "hunter2")?;
    let absent = world.folder().join("absent.key").display().to_string();
    for (binary, verb) in [("issuer-api", "serve"), ("issue-consumer", "run"), ("dlq-consumer", "run")] {
        for (file, said) in
            [(&short, "at least 32 bytes each, and not 7"), (&absent, "files that can be read (No such")]
        {
            let setting = format!("{KEYS}={file}");
            let ended = world.run(binary, &["--set", &setting, verb]).await?;
            assert_eq!(ended.code, Some(2), "{ended:?}");
            assert!(
                ended.stderr.contains(&format!("`{KEYS}` is `{file}`")) && ended.stderr.contains(said),
                "{ended:?}"
            );
            assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
        }
        let told = world.run(binary, &["--set", &format!("{KEYS}={}", key(&world, "ours")?), "doctor"]).await?;
        let key_id = |line: &&str| line.starts_with("ok") && line.contains("events") && line.contains("the key");
        assert!(told.stdout.lines().any(|line| key_id(&line)), "{told:?}");
    }
    Ok(())
}
