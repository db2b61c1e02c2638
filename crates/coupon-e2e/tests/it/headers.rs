//! D: the headers of a dead letter, and forged ones.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::{
        raw::RawHeader,
        record::{Header, NewRecord, Record},
    },
    world::World,
};

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, issued_rows,
    write::{accepted, dead_letters},
};

/// Returns the bytes of all names and values together.
fn bytes(headers: &[Header]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len)).sum()
}

fn is_ours(header: &Header) -> bool {
    ["__dlq.errors.", "kafka_dlt-", "x-coupon-"].iter().any(|prefix| header.0.starts_with(prefix))
}

const ORIGIN: [&str; 4] =
    ["__dlq.errors.topic", "__dlq.errors.partition", "__dlq.errors.offset", "x-coupon-first-failed-at"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d2_a_second_failure_keeps_the_origin_replaces_the_error_and_does_not_grow() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("TWICE", 10).await?;
    let rule = world.fail_member("TWICE", "unlucky", FailMode::With("23514")).await?;
    let (api, _consumer) =
        tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    accepted(&world, &api, "TWICE", "unlucky").await?;
    let mut letters = dead_letters(&world, 1, SOON).await?;
    rule.lift().await?;
    world.fail_member("TWICE", "unlucky", FailMode::With("22001")).await?;
    // Somebody puts the dead letter back into the main topic as it is, twice.
    for redriven in 1..=2 {
        world.topic.write(&letters[redriven - 1].again()).await?;
        letters = dead_letters(&world, redriven + 1, SOON).await?;
    }
    let origin = |letter: &Record| ORIGIN.map(|name| letter.header(name).map(str::to_owned));
    for letter in &letters[1..] {
        assert_eq!(origin(letter), origin(&letters[0]));
        assert_eq!(letter.header("x-coupon-error-code"), Some("22001"));
        assert_eq!((&letter.key, &letter.value), (&letters[0].key, &letters[0].value));
        assert_eq!(letter.headers.len(), letters[0].headers.len());
    }
    assert_eq!(letters[0].header("x-coupon-error-code"), Some("23514"));
    assert_eq!(bytes(&letters[2].headers), bytes(&letters[1].headers), "it grew");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_forged_and_broken_retry_headers_change_nothing() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("FORGED", 10).await?;
    world.fail_member("FORGED", "unlucky", FailMode::Permanently).await?;
    let api = world.start_api().await?;
    for member in ["lucky", "unlucky"] {
        accepted(&world, &api, "FORGED", member).await?;
    }
    let text = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let mut forged = vec![
        text("x-coupon-attempts", b"4"),
        text("x-coupon-disposition", b"PERMANENT"),
        text("x-coupon-request-id", b"\xff\xfe\x00"),
        text("x-coupon-replay-count", &[b'9'; 20_000]),
        text("x-coupon-first-failed-at", b"never"),
        text("__dlq.errors.topic", b"somewhere else"),
        text("__dlq.errors.partition", b"-1e99"),
        ("__dlq.errors.offset".to_owned(), None),
        text("kafka_dlt-original-partition", b"\x00"),
        text("kafka_dlt-original-offset", b"not eight bytes"),
    ];
    forged.extend((0..5000).map(|number| text("x-coupon-attempts", format!("{number}").as_bytes())));
    let originals = world.topic.read().await?;
    let copies: Vec<NewRecord> =
        originals.iter().map(|record| NewRecord { headers: forged.clone(), ..record.again() }).collect();
    let places = world.topic.write_all(&copies).await?;

    let (_issue, _dlq) =
        tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    issued_rows(&world, "FORGED", 1, SOON).await?;
    // The original of the unlucky one, and its forged copy.
    let letters = dead_letters(&world, 2, SOON).await?;
    let copy = letters.iter().find(|letter| letter.header("__dlq.errors.offset") == Some("3"));
    let copy = copy.with_context(|| format!("{letters:?} names {places:?}"))?;
    assert_eq!(copy.header("__dlq.errors.topic"), Some(world.topic.name()));
    assert_eq!(copy.header("x-coupon-attempts"), Some("1"));
    assert_eq!(copy.header("x-coupon-replay-count"), Some("0"));
    let ours: Vec<Header> = copy.headers.iter().filter(|header| is_ours(header)).cloned().collect();
    assert!(ours.len() < 30 && bytes(&ours) <= 16 * 1024, "{} headers, {} bytes", ours.len(), bytes(&ours));
    let verdict = world.quiet(SOON, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (1, 1), "{verdict}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d6_a_megabyte_of_error_message_is_cut_and_published() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("WORDY", 10).await?;
    world.fail_member("WORDY", "unlucky", FailMode::Wordy(1_000_000)).await?;
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().into_future()
    )?;
    accepted(&world, &api, "WORDY", "unlucky").await?;
    let letters = dead_letters(&world, 1, AFTER_ALL_ATTEMPTS).await?;
    let message = letters[0].header("__dlq.errors.message").context("a message")?;
    assert!(message.contains("forced failure") && message.len() <= 16 * 1024, "{} bytes", message.len());
    assert!(bytes(&letters[0].headers) <= 16 * 1024, "{} bytes", bytes(&letters[0].headers));
    let verdict = world.quiet(AFTER_ALL_ATTEMPTS, &[]).await?;
    ensure!((verdict.issued, verdict.compensated) == (0, 1), "{verdict}");
    let reason: i32 =
        sqlx::query_scalar("SELECT length(reason) FROM failed_coupon_issues").fetch_one(&world.db).await?;
    assert!((1000..=16 * 1024).contains(&reason), "{reason}");
    Ok(())
}

/// Header names are bytes to Kafka, and the client library takes them for text.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_header_names_that_are_no_text_are_left_out_and_the_record_is_worked_on() -> Result<()> {
    let world = World::in_line().await?;
    world.open_campaign("BYTES", 10).await?;
    world.fail_member("BYTES", "few", FailMode::Permanently).await?;
    let api = world.start_api().await?;
    for member in ["few", "many"] {
        accepted(&world, &api, "BYTES", member).await?;
    }
    let originals = world.topic.read().await?;
    let (no_text, good): (RawHeader<'_>, RawHeader<'_>) = ((b"\xff\xfe\x00", b"1"), (b"trace", b"2"));
    for (record, bad) in originals.iter().zip([3, 50_000]) {
        let mut headers = vec![no_text; bad];
        headers.push(good);
        let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().unwrap_or_default();
        world.topic.write_raw(&bytes(&record.key), &bytes(&record.value), &headers).await?;
    }
    world.topic.write(&NewRecord::of("after", "no event")).await?;
    let consumer = world.start_issue_consumer().await?;
    issued_rows(&world, "BYTES", 1, SOON).await?;
    // The one that fails, its copy, and what is behind all of them.
    let letters = dead_letters(&world, 3, SOON).await?;
    let copy = letters.iter().find(|letter| letter.header("__dlq.errors.offset") == Some("2"));
    assert_eq!(copy.context("the copy with few of them")?.header("trace"), Some("2"));
    let panics = consumer.log().iter().filter(|line| line.message().contains("panic")).count();
    assert_eq!(panics, 0, "each is logged");
    Ok(())
}
