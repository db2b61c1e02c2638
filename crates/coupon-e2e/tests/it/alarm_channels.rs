//! Alarms while a channel misbehaves: the second takes over, and nothing is lost when none works.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::TimeDelta;
use coupon_e2e::{
    process::logs::LogLine,
    wait::{eventually, stays},
    webhook::{Manner, SECRET, Webhook},
    world::World,
};

use crate::{
    SOON,
    alarms::{SENT_WITHIN, all_sent, plant, telling, undelivered, unsent},
};

const NOWHERE: &str = "alarms cannot be delivered anywhere since";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_channel_takes_over_when_the_first_stays_down_and_says_so() -> Result<()> {
    let (world, slack, webhook) = (World::new().await?, Webhook::start().await?, Webhook::start().await?);
    slack.turn(Manner::Answers(500)).await?;
    let launch = telling(&world, &slack, 500).env("DLQ_CONSUMER__ALARMS__WEBHOOK_URL", webhook.url());
    let _dlq_consumer = launch.set("alarms.takeover_after_ms", 3_000).await?;
    plant(&world, "first", 2).await?;
    let told = webhook.takes(1, SENT_WITHIN).await?;
    assert_eq!((told[0].count(), told[0].body["kind"].as_str()), (2, Some("DEAD_LETTERS")));
    let note = told[0].body["notes"][0].as_str().unwrap_or_default();
    assert!(note.starts_with("slack has been down since 20") && note.contains("answers 500"), "{note}");
    let tried = slack.received();
    assert!(told[0].at - tried[0].at >= TimeDelta::seconds(3), "{} after {}", told[0].at, tried[0].at);
    assert!(tried.len() > 1, "slack is tried again meanwhile");
    all_sent(&world).await?;

    plant(&world, "second", 1).await?;
    webhook.takes(2, SOON).await?;
    assert!(slack.received().len() > tried.len(), "slack is still tried");
    slack.turn(Manner::Takes).await?;
    // Alarms of the round in which slack failed still go to the other channel.
    let mut number = 0;
    eventually("slack is asked again", SOON, async || -> Result<bool> {
        number += 1;
        plant(&world, &format!("meanwhile {number}"), 1).await?;
        all_sent(&world).await?;
        Ok(!slack.taken().is_empty())
    })
    .await?;
    let (by_slack, by_webhook) = (slack.taken().len(), webhook.received().len());
    plant(&world, "third", 1).await?;
    slack.takes(by_slack + 1, SOON).await?;
    all_sent(&world).await?;
    assert_eq!(webhook.received().len(), by_webhook, "slack has its place back");
    let states: i64 = sqlx::query_scalar("SELECT count(*) FROM alarm_channels WHERE down_since IS NOT NULL")
        .fetch_one(&world.db)
        .await?;
    assert_eq!(states, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_delivered_nowhere_raises_a_metric_and_a_critical_line_again_and_again() -> Result<()> {
    const DIGEST: TimeDelta = TimeDelta::milliseconds(1_500);
    let (world, slack, webhook) = (World::new().await?, Webhook::start().await?, Webhook::start().await?);
    slack.turn(Manner::Answers(500)).await?;
    webhook.turn(Manner::Hangs).await?;
    let launch = telling(&world, &slack, 1_500).env("DLQ_CONSUMER__ALARMS__WEBHOOK_URL", webhook.url());
    let dlq_consumer = launch.set("alarms.takeover_after_ms", 0).await?;
    undelivered(&[&dlq_consumer], 0.0).await?;
    plant(&world, "nowhere", 3).await?;
    let said = |line: &LogLine| line.message().starts_with("[CRITICAL] 3 ") && line.message().contains(NOWHERE);
    let lines = || dlq_consumer.log().into_iter().filter(said).collect::<Vec<_>>();
    eventually("it is said twice", SENT_WITHIN, async || lines().len() >= 2).await?;
    let lines = lines();
    assert!(lines.iter().all(|line| line.level() == "ERROR"));
    let message = lines[0].message();
    assert!(message.contains("slack: answers 500") && message.contains("webhook: does not answer"), "{message}");
    let (first, second) = (lines[0].at().unwrap_or_default(), lines[1].at().unwrap_or_default());
    assert!(second - first >= DIGEST, "{first} and {second}");
    undelivered(&[&dlq_consumer], 3.0).await?;
    assert_eq!(unsent(&world).await?, 3);

    webhook.turn(Manner::Takes).await?;
    assert_eq!(webhook.takes(1, SENT_WITHIN).await?[0].count(), 3);
    all_sent(&world).await?;
    undelivered(&[&dlq_consumer], 0.0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_misbehaviour_ends_in_an_alarm_after_recovery_and_shows_no_address() -> Result<()> {
    let elsewhere = Webhook::start().await?;
    let manners = || {
        vec![
            Manner::Answers(404),
            Manner::Answers(500),
            Manner::TooMany("soon".to_owned()),
            Manner::Hangs,
            Manner::HangsUp,
            Manner::Babbles,
            Manner::SendsOn(elsewhere.url()),
            Manner::Floods,
            Manner::Refuses,
        ]
    };
    for channel in ["SLACK_WEBHOOK_URL", "WEBHOOK_URL"] {
        let (world, server) = (World::new().await?, Webhook::start().await?);
        let launch = world.start_dlq_consumer().env(&format!("DLQ_CONSUMER__ALARMS__{channel}"), server.url());
        let launch = launch.set("log.filter", "debug");
        let dlq_consumer = launch.set("alarms.digest_ms", 300).set("alarms.timeout_ms", 500).await?;
        // A page to log in is an answer like any other to the generic webhook.
        let of_slack = (channel == "SLACK_WEBHOOK_URL").then_some(Manner::LogsIn);
        for (number, manner) in manners().into_iter().chain(of_slack).enumerate() {
            let what = format!("{channel}, manner {number}");
            let came = server.received().len();
            server.turn(manner.clone()).await?;
            plant(&world, &what, 1).await?;
            undelivered(&[&dlq_consumer], 1.0).await?;
            ensure!(manner == Manner::Refuses || server.received().len() > came, "{what}: nothing came");
            ensure!(server.taken().len() == number, "{what}");
            server.turn(Manner::Takes).await?;
            server.takes(number + 1, SENT_WITHIN).await?;
            all_sent(&world).await?;
            // The next manner waits for the same figure.
            undelivered(&[&dlq_consumer], 0.0).await?;
        }
        stays("each is told once", Duration::from_secs(1), async || {
            server.taken().len() == manners().len() + usize::from(channel == "SLACK_WEBHOOK_URL")
        })
        .await?;
        assert!(!dlq_consumer.log_contains(SECRET), "the address of a webhook is its secret");
        let errors: Option<String> =
            sqlx::query_scalar("SELECT string_agg(to_jsonb(alarm_channels)::text, ' ') FROM alarm_channels")
                .fetch_one(&world.db)
                .await?;
        assert!(!errors.unwrap_or_default().contains(SECRET));
    }
    assert!(elsewhere.received().is_empty(), "an alarm is sent nowhere else");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alarm_test_asks_each_channel_and_doctor_says_which_there_are() -> Result<()> {
    let (world, slack, webhook) = (World::new().await?, Webhook::start().await?, Webhook::start().await?);
    let file = world.folder().join("slack.url");
    std::fs::write(&file, format!("{}\n", slack.url()))?;
    let (file, url) = (file.display().to_string(), webhook.url());
    let variables = [
        ("DLQ_CONSUMER__ALARMS__SLACK_WEBHOOK_URL_FILE", file.as_str()),
        ("DLQ_CONSUMER__ALARMS__WEBHOOK_URL", url.as_str()),
    ];
    let good = world.run_with("dlq-consumer", &["alarm-test"], &variables).await?.succeeded()?;
    assert!(good.contains("slack") && good.contains("webhook"), "{good}");
    assert!(slack.takes(1, SOON).await?[0].slack_text().contains("TEST"));
    assert_eq!(webhook.takes(1, SOON).await?[0].body["kind"], "TEST");
    slack.turn(Manner::Answers(404)).await?;
    let bad = world.run_with("dlq-consumer", &["alarm-test"], &variables).await?;
    assert_eq!(bad.code, Some(1));
    assert!(bad.stdout.contains("answers 404") && !format!("{bad:?}").contains(SECRET), "{bad:?}");
    assert_eq!(webhook.takes(2, SOON).await?.len(), 2, "the other is asked all the same");

    let doctor = world.run_with("dlq-consumer", &["doctor"], &variables).await?;
    assert!(doctor.stdout.contains("sent to slack, and to webhook") && !doctor.stdout.contains(SECRET), "{doctor:?}");
    assert_eq!(slack.received().len() + webhook.received().len(), 4, "doctor asks nobody");
    let doctor = world.run("dlq-consumer", &["doctor"]).await?;
    assert!(doctor.stdout.contains("warn") && doctor.stdout.contains("no channel is set"), "{doctor:?}");
    let none = world.run("dlq-consumer", &["alarm-test"]).await?;
    assert!(none.code == Some(1) && none.stderr.contains("no channel is set"), "{none:?}");
    let absent = [("DLQ_CONSUMER__ALARMS__WEBHOOK_URL_FILE", "/no/such/file")];
    let absent = world.run_with("dlq-consumer", &["run"], &absent).await?;
    assert!(absent.code == Some(2) && absent.stderr.contains("/no/such/file"), "{absent:?}");
    Ok(())
}
