//! The text of an alarm: it has all that is needed at night, names no member, and its markup does nothing.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    wait::eventually,
    webhook::{Received, Webhook},
    world::World,
};
use uuid::Uuid;

use crate::{
    SOON, Services,
    alarms::{all_sent, plant, telling},
    write::accepted,
};

const MEMBER: &str = "alice-the-unlucky";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_holds_all_that_on_call_needs_with_the_member_masked() -> Result<()> {
    let (world, slack, webhook) = (World::new().await?, Webhook::start().await?, Webhook::start().await?);
    world.open_campaign("NIGHT", 10).await?;
    world.fail_member("NIGHT", MEMBER, FailMode::Permanently).await?;
    let id = {
        let services = Services::start(&world).await?;
        let id = accepted(&world, &services.api, "NIGHT", MEMBER).await?.request_id.context("a request id")?;
        // Without any channel the log has the alarm.
        all_told_of(&world, 1).await?;
        let log = services.dlq_consumer.log();
        let told = |text: &str| log.iter().any(|line| line.level() == "ERROR" && line.message().contains(text));
        let look = look_closer(&world).await?;
        assert!(told(&format!("[CRITICAL] request given up, its unit goes back: look with `{look}`")));
        assert!(told(&format!("[CRITICAL] 1 request given up: look with `{look}`")));
        assert!(log.iter().all(|line| line.level() == "DEBUG" || !line.text.contains(MEMBER)));
        id
    };
    make_unsent(&world).await?;
    let masked = {
        let _dlq_consumer = telling(&world, &slack, 60_000).await?;
        slack.takes(1, SOON).await?.remove(0).slack_text()
    };
    holds_all(&masked, id, &world).await?;
    assert!(!masked.contains(MEMBER) && masked.contains("al***"), "{masked}");
    make_unsent(&world).await?;
    let open = {
        let _dlq_consumer = telling(&world, &slack, 60_000).set("alarms.mask_members", false).await?;
        slack.takes(2, SOON).await?.remove(1).slack_text()
    };
    assert!(open.contains(MEMBER), "{open}");
    make_unsent(&world).await?;
    let launch = world.start_dlq_consumer().env("DLQ_CONSUMER__ALARMS__WEBHOOK_URL", webhook.url());
    let _dlq_consumer = launch.await?;
    let body = webhook.takes(1, SOON).await?.remove(0).body;
    holds_all(&body.to_string(), id, &world).await?;
    assert!(!body.to_string().contains(MEMBER), "{body}");
    assert_eq!(
        (&body["letter"]["request_id"], &body["by_coupon"][0]["coupon"]),
        (&id.to_string().into(), &"NIGHT".into())
    );
    Ok(())
}

/// The command that shows the only entry of the work list.
async fn look_closer(world: &World) -> Result<String> {
    let id: i64 = sqlx::query_scalar("SELECT id FROM failed_coupon_issues").fetch_one(&world.db).await?;
    Ok(format!("dlq-consumer show E{id}"))
}

async fn holds_all(text: &str, id: Uuid, world: &World) -> Result<()> {
    let (origin, created, letter): (String, String, i64) = sqlx::query_as(
        "SELECT concat(origin_topic, ' ', origin_partition, '/', origin_offset),
                to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS'), id FROM dlq_events",
    )
    .fetch_one(&world.db)
    .await?;
    let (id, letter, look) = (id.to_string(), letter.to_string(), look_closer(world).await?);
    let wanted = [
        letter.as_str(),
        "COUPON_ISSUED",
        "COMPENSATED",
        &created,
        &id,
        &origin,
        "NIGHT",
        "PERMANENT",
        "23514",
        "forced failure: this coupon cannot be written",
        "error returned from database",
        "reserved_at",
        &look,
    ];
    for wanted in wanted {
        ensure!(text.contains(wanted), "{wanted} is missing in {text}");
    }
    Ok(())
}

async fn all_told_of(world: &World, letters: i64) -> Result<()> {
    eventually("all dead letters are in alarms", SOON, async || -> Result<bool> {
        let told: i64 =
            sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE alarm_sent").fetch_one(&world.db).await?;
        Ok(told == letters)
    })
    .await
}

/// Marks all alarms as unsent.
async fn make_unsent(world: &World) -> Result<()> {
    all_sent(world).await?;
    sqlx::raw_sql("DELETE FROM alarm_causes; UPDATE dlq_events SET alarm_sent = false").execute(&world.db).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s5_terminal_escapes_and_markup_in_a_dead_letter_are_inert_in_alarm_and_log() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    plant(&world, "evil", 1).await?;
    let payload =
        "{\"note\":\"\u{9b}31m\\u001b[2J<!channel>```<script>\",\"member_id\":\"mallory\",\"also\":[\"mallory\"]}";
    sqlx::query(
        "UPDATE dlq_events SET member_id = 'mallory', record_key = 'mallory', payload = $1, cause = $2, error_message = $2,
             stack_trace = $2 || E'\\n' || $2, origin_topic = $2, origin_partition = 0, origin_offset = 0",
    )
    .bind(payload.as_bytes())
    .bind("for mallory: \u{1b}]0;owned\u{7} <!channel> ```*bold*``` <https://evil.test|click> \u{202e}&amp;")
    .execute(&world.db)
    .await?;
    let dlq_consumer = telling(&world, &slack, 60_000).await?;
    let told = slack.takes(1, SOON).await?.remove(0);
    let raw = told.body.to_string();
    for bad in ["<!", "<h", "<s", "mallory"] {
        assert!(!raw.contains(bad), "{bad:?} in {raw}");
    }
    assert!(raw.contains("&lt;!channel&gt;") && raw.contains("&amp;amp;"), "{raw}");
    for text in texts_of(&told) {
        assert!(!text.replace('\n', " ").contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert!(text.matches("```").count() % 2 == 0 && text.matches('`').count() % 2 == 0, "code is closed: {text}");
    }
    all_sent(&world).await?;
    let lines: Vec<_> = dlq_consumer.log().into_iter().filter(|line| line.message().contains("owned")).collect();
    assert_eq!(lines.len(), 1);
    assert!(
        !lines[0].text.contains(['\u{1b}', '\u{7}', '\u{202e}']) && !lines[0].text.contains("mallory"),
        "{}",
        lines[0].text
    );
    Ok(())
}

fn texts_of(told: &Received) -> Vec<String> {
    let blocks = told.body["blocks"].as_array().cloned().unwrap_or_default();
    let fields = blocks.iter().flat_map(|block| block["fields"].as_array().cloned().unwrap_or_default());
    let texts = blocks.iter().map(|block| block["text"].clone()).chain(fields);
    texts.filter_map(|text| text["text"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_becomes_suspect_and_one_that_redis_has_lost_are_told_with_what_to_run() -> Result<()> {
    let (world, slack) = (World::new().await?, Webhook::start().await?);
    for code in ["BEHIND", "GONE"] {
        world.open_campaign(code, 10).await?;
    }
    sqlx::query("UPDATE coupons SET high_seq = 7 WHERE coupon_code = 'BEHIND'").execute(&world.db).await?;
    let api = world.start_api().set("alarms.installation", "prod-seoul");
    let (api, dlq_consumer) = tokio::try_join!(api.into_future(), telling(&world, &slack, 60_000).into_future())?;
    let member = world.member(&api, "somebody")?;
    eventually("it is noticed", SOON, async || member.ask("BEHIND").await.is_refused_as(503, "GATE_CLOSED")).await?;
    let told = slack.takes(1, SOON).await?.remove(0).slack_text();
    assert!(told.contains("BEHIND is SUSPECT") && told.contains("dlq-consumer rebuild BEHIND --by NAME"), "{told}");
    world.stock.flush().await?;
    eventually("it is told", SOON, async || {
        member.ask("GONE").await;
        let told: Vec<String> = slack.taken().iter().map(Received::slack_text).collect();
        let tells = |what: &str| {
            told.iter().any(|text| text.contains(what) && text.contains("dlq-consumer rebuild GONE --by NAME"))
        };
        tells("lost the data of GONE") && tells("GONE is SUSPECT")
    })
    .await?;
    let line = |line: &coupon_e2e::process::logs::LogLine| line.message().starts_with("[CRITICAL] BEHIND is SUSPECT");
    dlq_consumer.wait_for_log("the log says it too", SOON, line).await?;
    // The lines of issuer-api, before dlq-consumer tells of it, name the installation too.
    for (what, code) in [("gone back in time for BEHIND", "BEHIND"), ("lost the data of GONE", "GONE")] {
        let command = format!("`dlq-consumer rebuild {code} --by NAME`");
        let line = |line: &coupon_e2e::process::logs::LogLine| {
            line.message().starts_with("[CRITICAL] ")
                && line.message().contains(what)
                && line.message().ends_with(&command)
                && line.text_of("installation").as_deref() == Some("prod-seoul")
        };
        api.wait_for_log("the line names the installation", SOON, line).await?;
    }
    Ok(())
}
