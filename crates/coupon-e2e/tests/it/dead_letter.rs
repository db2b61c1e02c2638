//! D: records that cannot be written go to the dead letter topic.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::{
        DLQ_SETTINGS,
        record::{Event, NewRecord, Record},
    },
    process::logs::LogLine,
    wait::{eventually, stays},
    world::World,
};
use uuid::Uuid;

use crate::{
    SOON, Services, issued_rows,
    write::{accepted, dead_letters, unreadable},
};

/// Rows of `dlq_events` with this status.
async fn rows(world: &World, status: &str) -> Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE status = $1");
    Ok(count.bind(status).fetch_one(&world.db).await?)
}

/// Waits for so many rows of `dlq_events` with this status.
async fn rows_come(world: &World, status: &str, count: i64) -> Result<()> {
    let what = format!("{count} rows are {status}");
    eventually(&what, SOON * 2, async || -> Result<bool> { Ok(rows(world, status).await? == count) }).await
}

fn critical(line: &LogLine) -> bool {
    line.message().starts_with("[CRITICAL]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_key_bytes_and_headers_stay_the_origin_is_right_and_the_error_is_there() -> Result<()> {
    let world = World::new().await?;
    let headers =
        vec![("trace".to_owned(), Some(vec![0xff, 0])), ("empty".to_owned(), None), ("trace".to_owned(), Some(vec![]))];
    let odd = |key: Option<&[u8]>, value: Option<&[u8]>| NewRecord {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.clone(),
        timestamp_ms: Some(1_700_000_000_123),
        partition: Some(2),
    };
    let written = [
        odd(Some(b"\xc3\x28"), Some(b"\xff\xfe invalid UTF-8 \x00")),
        odd(None, Some(b"no key")),
        odd(Some(b"tombstone"), None),
    ];
    world.topic.write(&NewRecord::of("first", "so that offsets are not all 0").in_partition(2)).await?;
    let places = world.topic.write_all(&written).await?;
    let _consumer = world.start_issue_consumer().await?;
    let letters = dead_letters(&world, 4, SOON).await?;
    for (record, (partition, offset)) in written.iter().zip(places) {
        let same = |letter: &&Record| (&letter.key, &letter.value) == (&record.key, &record.value);
        let letter = letters.iter().find(same).with_context(|| format!("{record:?} is not in the DLQ"))?;
        assert_eq!(letter.headers[..3], record.headers[..]);
        assert_eq!(letter.timestamp_ms, record.timestamp_ms);
        assert_eq!(letter.header("__dlq.errors.topic"), Some(world.topic.name()));
        assert_eq!(letter.header("__dlq.errors.partition"), Some(partition.to_string().as_str()));
        assert_eq!(letter.header("__dlq.errors.offset"), Some(offset.to_string().as_str()));
        assert!(letter.header("__dlq.errors.message").is_some_and(|message| !message.is_empty()));
        let bytes =
            |name: &str| letter.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.clone());
        assert_eq!(bytes("kafka_dlt-original-partition"), Some(partition.to_be_bytes().to_vec()));
        assert_eq!(bytes("kafka_dlt-original-offset"), Some(offset.to_be_bytes().to_vec()));
        assert_eq!(bytes("kafka_dlt-original-topic"), Some(world.topic.name().as_bytes().to_vec()));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d3_a_failed_dlq_publish_stores_no_offset_and_is_made_up_once_the_topic_is_back() -> Result<()> {
    let world = World::new().await?;
    let group = world.group_of("issue-consumer");
    // The client gives a publication up in time to see what follows from that; left alone it would wait two minutes.
    let _consumer = world.start_issue_consumer().set("kafka.properties.message.timeout.ms", 1_500).await?;
    world.dlq.delete().await?;
    let (partition, offset) = world.topic.write(&NewRecord::of("bad", "no event")).await?;
    stays("no offset above the record is committed", Duration::from_secs(8), async || -> Result<bool> {
        let committed = world.topic.committed(&group).await?;
        Ok(committed.get(&partition).is_none_or(|committed| *committed <= offset))
    })
    .await?;
    world.dlq.create(2, DLQ_SETTINGS).await?;
    let letters = dead_letters(&world, 1, SOON * 4).await?;
    assert_eq!(letters[0].value.as_deref(), Some(&b"no event"[..]));
    eventually("the offset is committed", SOON, async || -> Result<bool> {
        Ok(world.topic.committed(&group).await?.get(&partition) == Some(&(offset + 1)))
    })
    .await?;
    // A record that a slow broker has stored after all may be there twice; it is one dead letter all the same.
    assert!(world.dlq.read().await?.iter().all(|letter| letter.value == letters[0].value));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d4_a_missing_dlq_topic_is_named_and_nothing_starts_before_it_is_there() -> Result<()> {
    let world = World::new().await?;
    world.dlq.delete().await?;
    world.open_campaign("WAITS", 5).await?;
    let (api, issue, dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().without_waiting().into_future(),
        world.start_dlq_consumer().without_waiting().into_future()
    )?;
    accepted(&world, &api, "WAITS", "somebody").await?;
    for process in [&issue, &dlq] {
        let missing = format!("topic `{}` does not exist", world.dlq.name());
        process.wait_for_log("the topic is named", SOON, |line| line.text.contains(&missing)).await?;
        ensure!(process.admin_page("/readyz").await?.contains(&missing), "{}", process.admin_page("/readyz").await?);
        assert_eq!(process.admin_status("/livez").await, Some(200));
    }
    assert_eq!(world.topic.committed(&world.group_of("issue-consumer")).await?.len(), 0, "nothing is consumed");
    world.dlq.create(2, DLQ_SETTINGS).await?;
    issued_rows(&world, "WAITS", 1, SOON).await?;
    eventually("both are ready", SOON, async || {
        issue.admin_status("/readyz").await == Some(200) && dlq.admin_status("/readyz").await == Some(200)
    })
    .await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_what_cannot_be_decoded_in_the_dlq_is_parked_writes_no_record_and_the_dlq_flows() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("FLOWS", 10).await?;
    // No issue-consumer runs: the event comes to PostgreSQL through the DLQ or not at all.
    let (api, dlq_consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_dlq_consumer().into_future())?;
    accepted(&world, &api, "FLOWS", "behind-the-bad-ones").await?;
    let event = world.topic.read().await?.pop().context("the event")?;
    let bad: Vec<NewRecord> = [NewRecord::of("k", vec![0xff, 0xfe])].into_iter().chain(unreadable()).collect();
    let count = i64::try_from(bad.len())?;
    let all: Vec<NewRecord> = bad.into_iter().chain([event.again()]).map(|record| record.in_partition(1)).collect();
    world.dlq.write_all(&all).await?;
    issued_rows(&world, "FLOWS", 1, SOON).await?;
    rows_come(&world, "PARKED", count).await?;
    let payload: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT payload FROM dlq_events WHERE status = 'PARKED' ORDER BY dlq_offset LIMIT 1")
            .fetch_one(&world.db)
            .await?;
    assert_eq!(payload, Some(vec![0xff, 0xfe]));
    let warned = |line: &LogLine| line.message().starts_with("[WARNING] ");
    dlq_consumer.wait_for_log("an alarm", SOON, warned).await?;
    eventually("the offset is committed", SOON, async || -> Result<bool> {
        Ok(world.dlq.committed(&world.group_of("dlq-consumer")).await?.get(&1) == Some(&(count + 1)))
    })
    .await?;
    assert_eq!(i64::try_from(world.dlq.read().await?.len())?, count + 1, "no new record");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_what_an_event_only_claims_is_parked_and_revokes_nothing() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("CLAIMS", 10).await?;
    let services = Services::start(&world).await?;
    let id = accepted(&world, &services.api, "CLAIMS", "honest").await?.request_id.context("a request id")?;
    issued_rows(&world, "CLAIMS", 1, SOON).await?;
    let claims = [
        Event { epoch: 2, ..Event::of("CLAIMS", "from-a-later-epoch", 2) },
        Event { request_id: id, ..Event::of("CLAIMS", "thief", 2) },
        Event::of("NO-SUCH", "nobody", 2),
    ];
    world.dlq.write_all(&claims.map(|event| NewRecord::event(&event))).await?;
    rows_come(&world, "PARKED", 3).await?;
    let decisions: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT request_id, decision FROM coupon_issues").fetch_all(&world.db).await?;
    assert_eq!(decisions, [(id, "ISSUED".to_owned())]);
    assert_eq!(world.stock.of("CLAIMS").await?.holder_of("honest"), Some(id));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d8_when_every_record_of_a_coupon_fails_the_budget_is_compensated_and_the_rest_held() -> Result<()> {
    const DIGEST_MS: i64 = 5_000;
    let world = World::new().await?;
    world.open_campaign("BROKEN", 112).await?;
    world.fail_campaign("BROKEN", FailMode::Permanently).await?;
    let (api, _consumer, dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("give_up.per_second", 0.001).set("alarms.digest_ms", DIGEST_MS).into_future()
    )?;
    for number in 0..112 {
        accepted(&world, &api, "BROKEN", &format!("member-{number}")).await?;
    }
    rows_come(&world, "COMPENSATED", 100).await?;
    rows_come(&world, "HELD", 12).await?;
    let pending: i64 = sqlx::query_scalar("SELECT count(*) FROM failed_coupon_issues WHERE status = 'PENDING'")
        .fetch_one(&world.db)
        .await?;
    assert_eq!(pending, 100);
    // One alarm for the cause each time: the first when the first came, the next for all that followed.
    let held = |line: &LogLine| critical(line) && line.message().contains("held undecided");
    dlq_consumer.wait_for_log("an alarm for the held ones", SOON, held).await?;
    let told = |line: &LogLine| critical(line) && line.number_of("count").is_some();
    let count = |lines: &[LogLine]| {
        lines.iter().filter(|line| told(line)).filter_map(|line| line.number_of("count")).sum::<i64>()
    };
    eventually("all are counted", SOON, async || count(&dlq_consumer.log()) == 112).await?;
    let alarms: Vec<LogLine> = dlq_consumer.log().into_iter().filter(told).collect();
    for pair in alarms.windows(2) {
        let (before, after) = (pair[0].at().context("a time")?, pair[1].at().context("a time")?);
        assert!((after - before).num_milliseconds() >= DIGEST_MS, "{} and {}", pair[0].text, pair[1].text);
    }
    stays("no other alarm", Duration::from_secs(3), async || count(&dlq_consumer.log()) == 112).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.accepted, verdict.compensated, verdict.held, verdict.stock), (112, 100, 12, 100));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_an_event_of_a_newer_version_is_held_and_alarmed_and_the_next_record_flows() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("NEWER", 10).await?;
    let services = Services::start(&world).await?;
    let mut value = Event::of("NEWER", "from-the-future", 1).to_json(2);
    value["colour"] = "a field that this build does not know".into();
    let records: Vec<NewRecord> =
        (0..4).map(|partition| NewRecord::of("from-the-future", value.to_string()).in_partition(partition)).collect();
    world.topic.write_all(&records).await?;
    accepted(&world, &services.api, "NEWER", "next").await?;
    issued_rows(&world, "NEWER", 1, SOON).await?;
    rows_come(&world, "HELD", 4).await?;
    services
        .dlq_consumer
        .wait_for_log("an alarm", SOON, |line| critical(line) && line.message().contains("held"))
        .await?;
    let versions: Vec<i64> = sqlx::query_scalar("SELECT DISTINCT event_version FROM dlq_events WHERE status = 'HELD'")
        .fetch_all(&world.db)
        .await?;
    assert_eq!(versions, [2]);
    let decided: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?;
    assert_eq!(decided, 1, "the newer event is undecided");
    assert!(services.issue_consumer.terminate(SOON).await?.success());
    Ok(())
}
