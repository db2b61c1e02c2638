//! Events that no issuer-api of ours has signed issue nothing, on whatever way they come.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};
use coupon_e2e::{
    kafka::record::{Event, NewRecord, Record},
    process::{command::Output, logs::LogLine},
    wait::eventually,
    world::World,
};
use uuid::Uuid;

use crate::{SOON, issued_rows, write::accepted};

/// Key, value and signatures of a parked row.
type Row = (Vec<u8>, Vec<u8>, Vec<Option<Vec<u8>>>);

/// The setting that names the files with the keys.
pub(crate) const KEYS: &str = "events.signing_key_files";
/// Header with the signature.
pub(crate) const SIGNATURE: &str = "x-coupon-signature";

/// Makes a file with a key of this name, and returns its path.
pub(crate) fn key(world: &World, name: &str) -> Result<String> {
    let path = world.folder().join(format!("{name}.key"));
    fs::write(&path, format!("{name} ").repeat(32))?;
    Ok(path.display().to_string())
}

/// Dead letters of a status, by their error code.
pub(crate) async fn codes(world: &World, status: &str) -> Result<BTreeMap<String, i64>> {
    let count = sqlx::query_as("SELECT error_code, count(*) FROM dlq_events WHERE status = $1 GROUP BY 1");
    let rows: Vec<(String, i64)> = count.bind(status).fetch_all(&world.db).await?;
    Ok(rows.into_iter().collect())
}

/// Waits until dead letters of this status have these codes.
pub(crate) async fn codes_come(world: &World, status: &str, expected: &[(&str, i64)]) -> Result<()> {
    let expected: BTreeMap<String, i64> = expected.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect();
    eventually(&format!("{expected:?} are {status}"), SOON, async || -> Result<bool> {
        let found = codes(world, status).await?;
        if found == expected { Ok(true) } else { anyhow::bail!("{found:?} are") }
    })
    .await
}

fn with_signature(record: NewRecord, signature: Option<&[u8]>) -> NewRecord {
    NewRecord { headers: vec![(SIGNATURE.to_owned(), signature.map(<[u8]>::to_vec))], ..record }
}

/// What somebody may write who has read a signed record and has no key. Codes: 4 unsigned, 4 forged, 1 of an unknown key.
fn forgeries(signed: &Record) -> Result<Vec<NewRecord>> {
    let signature = signed.header(SIGNATURE).context("a signature")?.as_bytes();
    let id = signed.event().context("an event")?.request_id;
    let thief = || Event::of("FORGED", &format!("thief-{}", Uuid::now_v7()), 1);
    let event = || NewRecord::event(&thief());
    let stolen = || NewRecord::event(&Event { request_id: id, ..thief() });
    let no_mac = [&signature[..signature.len() - 43], &[b'A'; 43]].concat();
    let other_key = format!("v1;00000000;{}", "A".repeat(43));
    Ok(vec![
        event(),
        with_signature(event(), None),
        stolen(),
        // Not even its version is believed: a newer build would decide what is held for it.
        NewRecord::of("newer", thief().to_json(2).to_string()),
        with_signature(event(), Some(signature)),
        with_signature(stolen(), Some(signature)),
        with_signature(event(), Some(&no_mac)),
        with_signature(event(), Some(b"v1;\xff")),
        with_signature(event(), Some(other_key.as_bytes())),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_events_are_parked_byte_for_byte_with_an_alarm_and_whoever_asked_holds_the_coupon() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FORGED", 5).await?;
    let key = key(&world, "ours")?;
    let api = world.start_api().set(KEYS, &key).await?;
    accepted(&world, &api, "FORGED", "honest-0").await?;
    let signed = world.topic.read().await?.pop().context("a record")?;
    let (forged, straight_to_the_dlq) = (forgeries(&signed)?, forgeries(&signed)?);
    world.topic.write_all(&forged).await?;
    world.dlq.write_all(&straight_to_the_dlq).await?;
    // Enough forged ones to sell the campaign out come before those who ask.
    for number in 1..5 {
        accepted(&world, &api, "FORGED", &format!("honest-{number}")).await?;
    }
    let (issue_consumer, dlq_consumer) = tokio::try_join!(
        world.start_issue_consumer().set(KEYS, &key).into_future(),
        world.start_dlq_consumer().set(KEYS, &key).into_future()
    )?;
    issued_rows(&world, "FORGED", 5, SOON).await?;
    let expected = [("EVENT_UNSIGNED", 8), ("EVENT_FORGED", 8), ("EVENT_UNKNOWN_KEY", 2)];
    codes_come(&world, "PARKED", &expected).await?;

    let decisions: Vec<(String, String)> =
        sqlx::query_as("SELECT member_id, decision FROM coupon_issues ORDER BY 1").fetch_all(&world.db).await?;
    assert_eq!(decisions, (0..5).map(|number| (format!("honest-{number}"), "ISSUED".to_owned())).collect::<Vec<_>>());
    // Nothing of a forged event is shown as a request or as a member's.
    let claims: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM dlq_events WHERE num_nonnulls(original_event_id, coupon_code, member_id) > 0",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!(claims, 0);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT record_key, payload, ARRAY(SELECT decode(header ->> 'value', 'base64')
                                           FROM jsonb_array_elements(headers) header WHERE header ->> 'name' = $1)
         FROM dlq_events",
    )
    .bind(SIGNATURE)
    .fetch_all(&world.db)
    .await?;
    for record in forged.iter().chain(&straight_to_the_dlq) {
        let (key, _, signatures) = rows.iter().find(|row| Some(&row.1) == record.value.as_ref()).context("its row")?;
        assert_eq!(Some(key), record.key.as_ref());
        let written: Vec<Option<Vec<u8>>> = record.headers.iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(*signatures, written);
    }
    for code in ["EVENT_UNSIGNED", "EVENT_FORGED", "EVENT_UNKNOWN_KEY"] {
        let told = |line: &LogLine| {
            line.message().starts_with("[CRITICAL]") && line.text_of("cause").is_some_and(|cause| cause.contains(code))
        };
        dlq_consumer.wait_for_log(&format!("an alarm of {code}"), SOON, told).await?;
    }
    for (process, unsigned, forged) in [(&issue_consumer, 4.0, 5.0), (&dlq_consumer, 8.0, 10.0)] {
        assert_eq!(process.metric("coupon_events_unsigned_total", "").await?, Some(unsigned));
        assert_eq!(process.metric("coupon_events_forged_total", "").await?, Some(forged));
    }
    Ok(())
}

async fn with_reason(world: &World, words: &[&str]) -> Result<Output> {
    world.run("dlq-consumer", &[words, &["--reason", "looked at it", "--by", "olga"]].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_forgery_is_neither_replayed_nor_compensated_and_an_operator_ignores_it() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FORGED", 5).await?;
    let key = key(&world, "ours")?;
    let keys = format!("{KEYS}={key}");
    let api = world.start_api().set(KEYS, &key).await?;
    let id = accepted(&world, &api, "FORGED", "honest").await?.request_id.context("a request id")?;
    // It claims the request of a member who was accepted: compensated, it would take the coupon away.
    let claimed = NewRecord::event(&Event { request_id: id, ..Event::of("FORGED", "honest", 1) });
    let other_key = format!("v1;00000000;{}", "A".repeat(43));
    let thief = || NewRecord::event(&Event::of("FORGED", "thief", 1));
    world.dlq.write_all(&[claimed, with_signature(thief(), Some(other_key.as_bytes()))]).await?;
    let dlq_consumer = world.start_dlq_consumer().set(KEYS, &key).await?;
    codes_come(&world, "PARKED", &[("EVENT_UNSIGNED", 1), ("EVENT_UNKNOWN_KEY", 1)]).await?;
    let numbers: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM dlq_events ORDER BY error_code DESC").fetch_all(&world.db).await?;
    let [unsigned, unknown] = [0, 1].map(|index| format!("D{}", numbers[index]));

    for verb in ["replay", "compensate"] {
        for settings in [&["--set", keys.as_str()][..], &[]] {
            let refused = with_reason(&world, &[settings, &[verb, &unsigned, "--yes"]].concat()).await?;
            assert!(refused.code == Some(1) && refused.stderr.contains("EVENT_UNSIGNED 1"), "{refused:?}");
        }
        // Its key might be known by now, so that only the attempt shows it.
        let refused = with_reason(&world, &["--set", &keys, verb, &unknown, "--yes"]).await?;
        assert_eq!(refused.code, Some(1), "{refused:?}");
    }
    let all = ["--set", &keys, "replay", "--dead-letters", "--up-to", "D99", "--yes"];
    let all = with_reason(&world, &all).await?;
    assert!(all.stderr.contains("EVENT_UNSIGNED 1"), "{all:?}");
    codes_come(&world, "PARKED", &[("EVENT_UNSIGNED", 1), ("EVENT_UNKNOWN_KEY", 1)]).await?;
    let decided: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?;
    assert_eq!(decided, 0);

    with_reason(&world, &["ignore", &unsigned, &unknown]).await?.succeeded()?;
    codes_come(&world, "IGNORED", &[("EVENT_UNSIGNED", 1), ("EVENT_UNKNOWN_KEY", 1)]).await?;
    let _issue_consumer = world.start_issue_consumer().set(KEYS, &key).await?;
    issued_rows(&world, "FORGED", 1, SOON).await?;
    assert_eq!(world.stock.of("FORGED").await?.holder_of("honest"), Some(id));
    assert!(dlq_consumer.is_running());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_issue_consumer_refuses_is_not_issued_by_a_dlq_consumer_without_keys() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FORGED", 5).await?;
    let key = key(&world, "ours")?;
    world.topic.write(&NewRecord::event(&Event::of("FORGED", "thief", 1))).await?;
    let (_issue_consumer, dlq_consumer) = tokio::try_join!(
        world.start_issue_consumer().set(KEYS, &key).into_future(),
        world.start_dlq_consumer().into_future()
    )?;
    codes_come(&world, "PARKED", &[("EVENT_UNSIGNED", 1)]).await?;
    let decided: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?;
    assert_eq!(decided, 0);
    assert!(dlq_consumer.log_contains("events are not verified: events.signing_key_files is empty"));
    Ok(())
}
