//! N: what an alarm is signed with, what stands in one message, and how it ends.

use std::time::Duration;

use anyhow::{Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    wait::{eventually, stays},
    webhook::{Manner, Received, Webhook},
    world::World,
};

use crate::{
    SOON,
    alarms::{SENT_WITHIN, all_sent, plant, telling},
    issued_rows,
    reconcile::reconcile,
    rows::json,
    write::accepted,
};

const LINKS: [(&str, &str); 3] = [
    ("alarms.installation", "prod-seoul"),
    ("alarms.runbook_url", "https://git.test/README.md"),
    ("alarms.dashboard_url", "https://grafana.test/d/on-call?orgId=1"),
];

/// Ignores dead letters, as an operator does whose records no issuer-api wrote.
async fn ignore(world: &World, id: &str) -> Result<String> {
    let words = ["ignore", id, "--dead-letters", "--reason", "foreign", "--by", "olga"];
    world.run("dlq-consumer", &words).await?.succeeded()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_names_the_installation_how_bad_it_is_and_where_to_read_on() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    for cause in ["foreign", "given up"] {
        plant(&world, cause, 1).await?;
    }
    let given_up = "UPDATE dlq_events SET status = 'COMPENSATED', coupon_code = 'SPRING' WHERE cause = 'given up'";
    sqlx::query(given_up).execute(&world.db).await?;
    let mut launch = telling(&world, &slack, 60_000);
    for (key, value) in LINKS {
        launch = launch.set(key, value);
    }
    let dlq_consumer = launch.await?;
    // What is not equally bad does not stand in one message.
    let told = slack.takes(2, SOON).await?;
    let (given_up, parked): (Vec<_>, Vec<_>) =
        told.iter().partition(|told| told.slack_text().contains("1 request given up"));
    ensure!(given_up.len() == 1 && parked.len() == 1, "{told:?}");
    let (given_up, text) = (given_up[0].slack_text(), parked[0].slack_text());
    ensure!(parked[0].body["text"].as_str().is_some_and(|text| text.starts_with("`[WARNING] [prod-seoul] ")), "{text}");
    ensure!(text.contains("*WARNING* `prod-seoul`"), "{text}");
    ensure!(text.contains("<https://git.test/README.md#alarm-parked|runbook>"), "{text}");
    ensure!(text.contains("<https://grafana.test/d/on-call?orgId=1|dashboard>"), "{text}");
    let line = |line: &coupon_e2e::process::logs::LogLine| {
        line.message().starts_with("[WARNING] 1 dead letter parked")
            && line.text.contains("prod-seoul")
            && line.text.contains("WARNING")
    };
    dlq_consumer.wait_for_log("the line names the installation", SOON, line).await?;

    ensure!(given_up.contains("[CRITICAL] [prod-seoul] 1 request given up"), "{given_up}");
    ensure!(given_up.contains("#alarm-given-up|"), "{given_up}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_first_alarms_is_one_message_that_lists_its_causes() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    let causes = ["expected value", "expected ident", "invalid type", "missing field", "trailing characters"];
    for (cause, count) in causes.iter().zip([3, 2, 2, 2, 2]) {
        plant(&world, cause, count).await?;
    }
    let dlq_consumer = telling(&world, &slack, 60_000).await?;
    let told = slack.takes(1, SOON).await?.remove(0);
    all_sent(&world).await?;
    let text = told.slack_text();
    ensure!(told.count() == 11 && text.contains("11 dead letters parked undecided, of 5 causes"), "{text}");
    for cause in causes {
        ensure!(text.contains(&format!("planted: {cause}")), "{cause} in {text}");
        let line = |line: &coupon_e2e::process::logs::LogLine| {
            line.message().starts_with("[WARNING] ") && line.message().ends_with(&format!("planted: {cause}"))
        };
        dlq_consumer.wait_for_log("each cause has its line", SOON, line).await?;
    }
    // A later alarm of a cause stands alone.
    stays("nothing more is told", Duration::from_secs(2), async || slack.received().len() == 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_all_clear_is_told_once_when_the_last_of_a_cause_is_settled() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    plant(&world, "broken", 2).await?;
    // A cause whose alarm was never sent has no all-clear.
    plant(&world, "silent", 1).await?;
    let silent = "UPDATE dlq_events SET alarm_sent = true, status = 'IGNORED' WHERE cause = 'silent'";
    sqlx::query(silent).execute(&world.db).await?;
    let start = || telling(&world, &slack, 1_000).into_future();
    let (_one, _two) = tokio::try_join!(start(), start())?;
    slack.takes(1, SOON).await?;
    all_sent(&world).await?;
    ignore(&world, "1").await?;
    let clear = |told: &Received| told.slack_text().contains("all clear: nothing waits any more of broken");
    let cleared = || slack.received().iter().filter(|told| clear(told)).count();
    stays("one still waits", Duration::from_secs(3), async || cleared() == 0).await?;
    ignore(&world, "2").await?;
    eventually("it is told that nothing waits", SENT_WITHIN, async || cleared() == 1).await?;
    let told = slack.received().into_iter().find(clear).map(|told| told.slack_text()).unwrap_or_default();
    ensure!(told.contains("[OK]") && told.contains("2 in all"), "{told}");
    stays("it is told once", Duration::from_secs(4), async || cleared() == 1).await?;
    ensure!(!slack.has_received("more of silent"));

    // And the next of its kind is an alarm again.
    plant(&world, "broken", 1).await?;
    eventually("it is told anew", SOON, async || {
        slack.received().last().is_some_and(|told| told.slack_text().contains("1 dead letter parked"))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_whose_layout_slack_refuses_is_told_as_plain_text() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    slack.turn(Manner::RefusesLayout).await?;
    let _dlq_consumer = telling(&world, &slack, 500).set("alarms.installation", "prod-seoul").await?;
    plant(&world, "odd", 3).await?;
    let told = slack.takes(1, SOON).await?.remove(0);
    let text = told.slack_text();
    ensure!(text.contains("[prod-seoul] 3 dead letters parked undecided: planted: odd"), "{text}");
    ensure!(text.contains("dlq-consumer show D"), "{text}");
    all_sent(&world).await?;
    stays("it is told once", Duration::from_secs(2), async || slack.received().len() == 2).await?;

    let url = slack.url();
    let variables = [("DLQ_CONSUMER__ALARMS__SLACK_WEBHOOK_URL", url.as_str())];
    let words =
        ["alarm-test", "--set", "alarms.installation=prod-seoul", "--set", "alarms.runbook_url=https://git.test/R"];
    let test = world.run_with("dlq-consumer", &words, &variables).await?.succeeded()?;
    for said in ["as plain text", "installation: prod-seoul", "https://git.test/R#runbook", "dashboard:    not set"] {
        ensure!(test.contains(said), "{said} in {test}");
    }
    let text = slack.takes(2, SOON).await?.remove(1).slack_text();
    ensure!(text.contains("[TEST] [prod-seoul]") && text.contains("<https://git.test/R#runbook|runbook>"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_compensates_by_hand_raises_no_alarm() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    world.open_campaign("HAND", 5).await?;
    world.fail_campaign("HAND", FailMode::Permanently).await?;
    let launch = telling(&world, &slack, 1_000).set("give_up.burst", 0).set("give_up.per_second", 0);
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        launch.into_future()
    )?;
    accepted(&world, &api, "HAND", "patient").await?;
    let held = slack.takes(1, SENT_WITHIN).await?.remove(0).slack_text();
    ensure!(held.contains("1 dead letter held undecided"), "{held}");
    all_sent(&world).await?;
    let letter: i64 = sqlx::query_scalar("SELECT id FROM dlq_events").fetch_one(&world.db).await?;
    let letter = format!("D{letter}");
    let words = ["compensate", &letter, "--reason", "paid", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &words).await?.succeeded()?;
    let decided: String = sqlx::query_scalar("SELECT status FROM dlq_events").fetch_one(&world.db).await?;
    assert_eq!(decided, "COMPENSATED");
    stays("nobody is told of it", Duration::from_secs(4), async || !slack.has_received("given up")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replay_can_only_compensate_raises_an_alarm() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    world.open_campaign("OLD", 5).await?;
    let rule = world.fail_campaign("OLD", FailMode::Permanently).await?;
    let launch = telling(&world, &slack, 1_000).set("give_up.burst", 0).set("give_up.per_second", 0);
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        launch.into_future()
    )?;
    accepted(&world, &api, "OLD", "patient").await?;
    slack.takes(1, SENT_WITHIN).await?;
    all_sent(&world).await?;
    let rebuilt = world.run("dlq-consumer", &["rebuild", "OLD", "--leave-undecided", "--yes", "--by", "olga"]).await?;
    rebuilt.succeeded()?;
    rule.lift().await?;
    let words = ["replay", "--dead-letters", "--coupon", "OLD", "--reason", "mended", "--by", "olga", "--yes"];
    let replayed = world.run("dlq-consumer", &words).await?;
    ensure!(replayed.stdout.contains("OLD_EPOCH"), "{replayed:?}");
    eventually("somebody is told of the member", SENT_WITHIN, async || slack.has_received("1 request given up"))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_all_clear_of_a_suspect_campaign_is_told_when_its_rebuild_is_over() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    world.open_campaign("CUT", 5).await?;
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        telling(&world, &slack, 1_000).set("jobs.workers", 0).into_future()
    )?;
    world.stock.flush().await?;
    world.member(&api, "late")?.ask("CUT").await;
    eventually("somebody is told that it is suspect", SENT_WITHIN, async || slack.has_received("CUT is SUSPECT"))
        .await?;
    all_sent(&world).await?;
    let cleared = || slack.has_received("all clear: ");
    let rebuild = ["rebuild", "CUT", "--yes", "--by", "olga"];
    let cut = world.run_with("dlq-consumer", &rebuild, &[("COUPON_CRASH_AT", "move the epoch on:after")]).await?;
    ensure!(cut.code != Some(0), "{cut:?}");
    assert_eq!(crate::rebuild::status(&world, "CUT").await?, "OPENING");
    stays("it accepts nothing yet", Duration::from_secs(5), async || !cleared()).await?;
    world.run("dlq-consumer", &rebuild).await?.succeeded()?;
    eventually("it is told that nothing waits", SENT_WITHIN, async || cleared()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_all_clear_of_lost_data_is_told_when_a_rebuild_has_filled_it_also_of_a_closed_campaign() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    for code in ["ENDED", "FORGOTTEN"] {
        world.open_campaign(code, 5).await?;
        world.coupon(&["close", code]).await?.succeeded()?;
    }
    let (api, _issue, _dlq) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        telling(&world, &slack, 1_000).into_future()
    )?;
    // A rebuild of before the loss, which says nothing of it.
    let rebuild = async || crate::rebuild::rebuild(&world, "ENDED").await?.succeeded();
    rebuild().await?;
    world.stock.flush().await?;
    let told = |words: &str| slack.has_received(words);
    for code in ["ENDED", "FORGOTTEN"] {
        world.member(&api, "late")?.ask(code).await;
        let lost = format!("lost the data of {code}");
        eventually("somebody is told of the loss", SENT_WITHIN, async || told(&lost)).await?;
    }
    all_sent(&world).await?;
    assert_eq!(crate::rebuild::status(&world, "ENDED").await?, "CLOSED", "the status says nothing of it");
    stays("its data is gone", Duration::from_secs(5), async || !told("all clear: ")).await?;
    rebuild().await?;
    eventually("it is told that nothing waits", SENT_WITHIN, async || {
        told("all clear: nothing waits any more of LOST ENDED")
    })
    .await?;
    // Nobody fills what was ended for good.
    sqlx::query("UPDATE coupons SET archived_at = now() WHERE coupon_code = 'FORGOTTEN'").execute(&world.db).await?;
    eventually("that is an end too", SENT_WITHIN, async || told("nothing waits any more of LOST FORGOTTEN")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_all_clear_of_drift_is_told_when_a_later_comparison_finds_none() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    world.open_campaign("COUNTED", 4).await?;
    let (api, _issue) = tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    accepted(&world, &api, "COUNTED", "bare").await?;
    issued_rows(&world, "COUNTED", 1, SOON).await?;
    // By hand, and without the counter, so that the service leaves it to a person. With its number: else it would get another
    // one, and a difference of the numbers stays.
    let lost = "DELETE FROM coupon_issues; DELETE FROM coupon_decision_batches; UPDATE coupons SET decision_no = 0";
    sqlx::raw_sql(lost).execute(&world.db).await?;
    let _dlq = telling(&world, &slack, 1_000).set("reconcile.every_ms", 1_000).await?;
    let told = |words: &str| slack.has_received(words);
    eventually("somebody is told of the drift", SENT_WITHIN, async || told("differ for COUNTED")).await?;
    stays("it is there", Duration::from_secs(5), async || !told("all clear: ")).await?;
    reconcile(&world, &["COUNTED", "--apply"]).await?;
    issued_rows(&world, "COUNTED", 1, SOON).await?;
    eventually("it is told that nothing waits", SENT_WITHIN, async || told("all clear: ")).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stats_tell_alarms_that_wait_for_the_digest_from_those_that_are_late() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    plant(&world, "first", 1).await?;
    {
        let _dlq_consumer = telling(&world, &slack, 60_000).await?;
        all_sent(&world).await?;
    }
    plant(&world, "first", 3).await?;
    plant(&world, "never told", 2).await?;
    let stats = json(&world, &["stats"]).await?;
    assert_eq!((&stats["alarms_unsent"], &stats["alarms_in_digest"]), (&5.into(), &3.into()), "{stats}");
    let table = world.run("dlq-consumer", &["stats"]).await?.succeeded()?;
    ensure!(table.contains("2, and 3 in the next digest"), "{table}");
    Ok(())
}
