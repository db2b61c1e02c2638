//! N: alarms. Each alarm is delivered, once, whatever the channels do.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use coupon_e2e::{
    kafka::record::NewRecord,
    process::{Process, launch::Launch},
    wait::{eventually, stays},
    webhook::{Manner, Received, Webhook},
    world::World,
};

use crate::SOON;

/// Longest time until an alarm is sent that a channel refused at first.
pub const SENT_WITHIN: Duration = Duration::from_secs(30);

/// A `dlq-consumer` that tells Slack, with a digest each so many ms.
pub fn telling(world: &World, slack: &Webhook, digest_ms: u64) -> Launch {
    let launch = world.start_dlq_consumer().env("DLQ_CONSUMER__ALARMS__SLACK_WEBHOOK_URL", slack.url());
    launch.set("alarms.digest_ms", digest_ms).set("alarms.timeout_ms", 500)
}

/// Inserts parked dead letters of one cause.
pub async fn plant(world: &World, cause: &str, count: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO dlq_events (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type, headers,
             error_class, error_code, cause, error_message, stack_trace, attempts, status, alarm_sent)
         SELECT 'planted', 0, (SELECT count(*) FROM dlq_events) + number, 0, 'UNKNOWN', '[]', 'MALFORMED', 'PLANTED', $1,
                'planted: ' || $1, '', 1, 'PARKED', false
         FROM generate_series(1, $2) number",
    )
    .bind(cause)
    .bind(count)
    .execute(&world.db)
    .await?;
    Ok(())
}

/// Returns the number of dead letters and notices whose alarm is unsent.
pub async fn unsent(world: &World) -> Result<i64> {
    let count = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM dlq_events WHERE NOT alarm_sent)
              + (SELECT count(*) FROM alarm_notices WHERE NOT alarm_sent)",
    );
    Ok(count.fetch_one(&world.db).await?)
}

/// Waits until no alarm is unsent; a channel has an alarm shortly before the table says so.
pub async fn all_sent(world: &World) -> Result<()> {
    // Some tests write a hundred thousand dead letters before, and others keep the machine busy.
    eventually("every alarm is sent", SOON * 2, async || -> Result<bool> { Ok(unsent(world).await? == 0) }).await
}

/// Waits until the metric says that so many alarms reach nobody.
pub async fn undelivered(processes: &[&Process], count: f64) -> Result<()> {
    eventually(&format!("{count} are undelivered"), SOON, async || -> Result<bool> {
        let mut most: f64 = 0.0;
        for process in processes {
            most = most.max(process.metric("coupon_alarms_undelivered", "").await?.context("no such metric yet")?);
        }
        Ok((most - count).abs() < 0.5)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n1_webhook_gone_the_sweep_tells_after_recovery_once_over_all_replicas() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    slack.turn(Manner::Refuses).await?;
    let start = || telling(&world, &slack, 1_000).set("alarms.timeout_ms", 5_000).into_future();
    let (one, two) = tokio::try_join!(start(), start())?;
    plant(&world, "gone", 5).await?;
    undelivered(&[&one, &two], 5.0).await?;
    assert_eq!(unsent(&world).await?, 5);
    // So late that the other looks for alarms meanwhile.
    slack.turn(Manner::TakesLate(Duration::from_millis(2_500))).await?;
    assert_eq!(slack.takes(1, SENT_WITHIN).await?[0].count(), 5);
    all_sent(&world).await?;
    stays("nobody tells it again", Duration::from_secs(4), async || slack.received().len() == 1).await?;
    undelivered(&[&one, &two], 0.0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n2_a_thousand_failures_of_one_cause_are_one_first_alarm_and_digests() -> Result<()> {
    const DIGEST: TimeDelta = TimeDelta::seconds(3);
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    let start = || telling(&world, &slack, 3_000).into_future();
    let (_one, _two) = tokio::try_join!(start(), start())?;
    world.dlq.write(&NewRecord::of("nobody", "no event")).await?;
    assert_eq!(slack.takes(1, SOON).await?[0].count(), 1, "the first is told at once");
    world.dlq.write_all(&vec![NewRecord::of("nobody", "no event"); 999]).await?;
    let letters = async || -> Result<bool> {
        let letters: i64 = sqlx::query_scalar("SELECT count(*) FROM dlq_events").fetch_one(&world.db).await?;
        Ok(letters == 1000 && unsent(&world).await? == 0)
    };
    eventually("all alarms are sent", SENT_WITHIN, letters).await?;
    let told = slack.received();
    assert_eq!(told.iter().map(Received::count).sum::<u64>(), 1000, "each is counted once");
    for pair in told.windows(2) {
        assert!(pair[1].at - pair[0].at >= DIGEST, "{} and {}", pair[0].at, pair[1].at);
    }
    assert!(told[1].slack_text().contains("told before"), "{}", told[1].slack_text());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n3_a_429_with_retry_after_is_honoured_by_every_replica() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    // Without the request to wait they would try again after 200 ms.
    let start = || telling(&world, &slack, 200).into_future();
    let (_one, _two) = tokio::try_join!(start(), start())?;
    let in_seconds: fn() -> String = || "4".to_owned();
    let at_a_date: fn() -> String =
        || (Utc::now() + TimeDelta::seconds(5)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for (form, pause) in [("seconds", in_seconds), ("date", at_a_date)] {
        let (before, pause) = (slack.received().len(), pause());
        slack.turn(Manner::TooMany(pause.clone())).await?;
        plant(&world, form, 1).await?;
        eventually("it is asked", SOON, async || slack.received().len() == before + 1).await?;
        let asked_at = slack.received()[before].at;
        let until = DateTime::parse_from_rfc2822(&pause).map_or(asked_at + TimeDelta::seconds(4), |date| date.to_utc());
        slack.turn(Manner::Takes).await?;
        // Another cause is no reason to ask earlier.
        plant(&world, &format!("{form}, another cause"), 1).await?;
        // In one message, or in one of each replica.
        let told = || slack.received()[before + 1..].iter().map(Received::count).sum::<u64>();
        eventually("both are told", SENT_WITHIN, async || told() == 2).await?;
        for told_at in slack.received()[before + 1..].iter().map(|told| told.at) {
            assert!(told_at >= until, "{form}: asked again at {told_at}, not before {until}");
        }
        all_sent(&world).await?;
    }
    Ok(())
}

/// The statements that read the causes and note alarms as sent stay far below the time limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_letters_are_told_while_others_are_told_at_once() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    for cause in ["many", "many others"] {
        plant(&world, cause, 50_000).await?;
    }
    let _dlq_consumer = telling(&world, &slack, 60_000).set("database.statement_timeout_ms", 1_000).await?;
    slack.takes(1, SENT_WITHIN).await?;
    all_sent(&world).await?;
    plant(&world, "few", 1).await?;
    let told = slack.takes(2, SOON).await?;
    assert_eq!(told.iter().map(Received::count).collect::<Vec<_>>(), [100_000, 1]);
    Ok(())
}
