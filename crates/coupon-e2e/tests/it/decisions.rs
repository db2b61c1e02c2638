//! E1 to E4: decisions as events, whatever happens to the topic and to the relay. The oracle reads the topic too.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::{
        Topic,
        record::{NewRecord, Record},
    },
    oracle::Kind,
    process::Process,
    wait::eventually,
    world::World,
};

use crate::{SOON, Services, issued_rows, replay, write::accepted};

/// Longest time until another relay goes on for one that is silent: its lease, and what a busy machine takes.
pub(crate) const TAKEN_OVER: Duration = Duration::from_secs(40);

/// A world that publishes decisions, with a campaign of so many coupons, and its topic of decisions.
pub(crate) async fn publishing(code: &str, total: u64) -> Result<(World, Topic)> {
    let world = World::new().await?.publishing_decisions();
    world.open_campaign(code, total).await?;
    let topic = world.decisions.clone().context("a topic of decisions")?;
    Ok((world, topic))
}

/// Has so many members ask, one after the other, and waits until their coupons are issued.
pub(crate) async fn ask(world: &World, api: &Process, code: &str, who: &str, members: i64) -> Result<()> {
    let before = crate::issued(world, code).await?;
    for number in 0..members {
        accepted(world, api, code, &format!("{who}-{number}")).await?;
    }
    issued_rows(world, code, before + members, SOON).await
}

/// Number of an event.
pub(crate) fn number(event: &Record) -> i64 {
    event.header("ce_decisionno").and_then(|number| number.parse().ok()).unwrap_or_default()
}

async fn is_topic_ready(process: &Process) -> Result<bool> {
    let page: serde_json::Value = serde_json::from_str(&process.admin_page("/readyz").await?)?;
    let conditions = page["conditions"].as_array().context("conditions")?;
    let condition = conditions.iter().find(|condition| condition["name"] == "decision topic");
    Ok(condition.context("the condition of the topic")?["ready"] == true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_while_the_topic_is_gone_decisions_wait_and_nothing_else_does() -> Result<()> {
    let (world, topic) = publishing("GONE", 60).await?;
    let services = Services::start(&world).await?;
    // Ready without it, issuing and giving back as ever.
    ask(&world, &services.api, "GONE", "early", 10).await?;
    replay::given_up(&world, &services.api, "GONE", &["unlucky"]).await?;
    ensure!(services.dlq_consumer.admin_status("/readyz").await == Some(200), "nothing else suffers");
    ensure!(!is_topic_ready(&services.dlq_consumer).await?, "it is named");
    let named = |process: &Process| {
        process
            .log()
            .iter()
            .filter(|line| line.text.contains("coupon-decisions") && line.text.contains("does not exist"))
            .count()
    };
    eventually("11 decisions are counted as waiting", SOON, async || -> Result<bool> {
        Ok(services.dlq_consumer.metric("coupon_decisions_behind", "").await? == Some(11.0))
    })
    .await?;
    assert_eq!(named(&services.dlq_consumer), 1, "said once, however long it lasts");

    topic.create(3, &[]).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (10, 1));
    ensure!(is_topic_ready(&services.dlq_consumer).await?);

    // Gone with all that was in it: what is decided from now on waits for a new one, the rest is replayed.
    topic.delete().await?;
    ask(&world, &services.api, "GONE", "late", 10).await?;
    ensure!(services.dlq_consumer.admin_status("/readyz").await == Some(200));
    topic.create(3, &[]).await?;
    eventually("the late decisions are told", Duration::from_mins(2), async || -> Result<bool> {
        Ok(topic.read().await?.iter().filter(|event| number(event) > 11).count() >= 10)
    })
    .await?;
    let words = ["decisions", "replay", "--coupon", "GONE", "--from", "1", "--to", "11", "--by", "olga"];
    world.run("dlq-consumer", &words).await?.succeeded()?;
    // What was replayed comes late, and all of it comes.
    world.quiet(SOON, &[Kind::EventOutOfOrder]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_a_relay_may_end_at_each_of_its_points() -> Result<()> {
    let (world, topic) = publishing("ENDED", 200).await?;
    topic.create(3, &[]).await?;
    let services = Services::start(&world).await?;
    ask(&world, &services.api, "ENDED", "first", 5).await?;
    services.dlq_consumer.terminate(SOON).await?;
    let effects = ["take the lease of decisions", "publish a decision", "move the mark of decisions"];
    let points = effects.iter().flat_map(|effect| ["before", "after"].map(|moment| format!("{effect}:{moment}")));
    for (round, point) in points.enumerate() {
        ask(&world, &services.api, "ENDED", &format!("round-{round}"), 5).await?;
        let victim = world.start_dlq_consumer().env("COUPON_CRASH_AT", &point).without_waiting().await?;
        let status = victim.exit(TAKEN_OVER).await.with_context(|| format!("{point}: it never came to it"))?;
        ensure!(status.to_string().contains("signal: 6"), "{point}: {status}");
        println!("swept {point}");
    }
    let _again = world.start_dlq_consumer().await?;
    let verdict = world.quiet(TAKEN_OVER, &[]).await?;
    assert_eq!(verdict.issued, 35);
    let told = topic.read().await?.len();
    ensure!(told > 35, "a crash between the acknowledgement and the mark tells again: {told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e3_of_two_relays_one_publishes_and_the_other_goes_on_when_it_falls_silent() -> Result<()> {
    let (world, topic) = publishing("TWO", 100).await?;
    topic.create(3, &[]).await?;
    let services = Services::start(&world).await?;
    ask(&world, &services.api, "TWO", "first", 10).await?;
    world.quiet(SOON, &[]).await?;
    let other = world.start_dlq_consumer().await?;
    let relayed = async |process: &Process| -> Result<f64> {
        Ok(process.metric("coupon_decisions_relayed_total", "").await?.unwrap_or_default())
    };
    ask(&world, &services.api, "TWO", "second", 10).await?;
    world.quiet(SOON, &[]).await?;
    assert_eq!(topic.read().await?.len(), 20, "two relays that are well publish nothing twice");

    // Frozen with its lease: the other one waits for its end and then goes on; the frozen one wakes up and finds it so.
    let owner: Option<String> =
        sqlx::query_scalar("SELECT owner FROM coupon_decision_marks").fetch_one(&world.db).await?;
    ensure!(owner.is_some(), "somebody has the lease");
    services.dlq_consumer.stop()?;
    ask(&world, &services.api, "TWO", "third", 10).await?;
    eventually("the other one has published", TAKEN_OVER, async || -> Result<bool> {
        Ok(relayed(&other).await? >= 10.0)
    })
    .await?;
    services.dlq_consumer.cont()?;
    ask(&world, &services.api, "TWO", "fourth", 10).await?;
    world.quiet(TAKEN_OVER, &[]).await?;
    other.terminate(SOON).await?;
    ask(&world, &services.api, "TWO", "fifth", 10).await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!(verdict.issued, 50);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_what_operators_decide_is_told_like_everything_else() -> Result<()> {
    let (world, topic) = publishing("OPERATED", 50).await?;
    topic.create(3, &[]).await?;
    let services = Services::start(&world).await?;
    ask(&world, &services.api, "OPERATED", "member", 5).await?;
    replay::given_up(&world, &services.api, "OPERATED", &["one", "two"]).await?;
    // A replay issues by a new request, and what is held is compensated by hand.
    replay::replay(&world, &["--coupon", "OPERATED"]).await?.succeeded()?;
    issued_rows(&world, "OPERATED", 7, SOON).await?;
    let holding =
        world.start_dlq_consumer().set("give_up.burst", 0).set("give_up.per_second", 0).set("jobs.workers", 0);
    services.dlq_consumer.terminate(SOON).await?;
    let _holding = holding.await?;
    world.fail_member("OPERATED", "three", FailMode::Permanently).await?;
    accepted(&world, &services.api, "OPERATED", "three").await?;
    eventually("it is held", crate::AFTER_ALL_ATTEMPTS, async || -> Result<bool> {
        let held: i64 =
            sqlx::query_scalar("SELECT count(*) FROM dlq_events WHERE status = 'HELD'").fetch_one(&world.db).await?;
        Ok(held == 1)
    })
    .await?;
    let held: i64 = sqlx::query_scalar("SELECT id FROM dlq_events WHERE status = 'HELD'").fetch_one(&world.db).await?;
    let held = format!("D{held}");
    let words = ["compensate", &held, "--reason", "by hand", "--by", "olga", "--yes"];
    world.run("dlq-consumer", &words).await?.succeeded()?;
    // Redis promised one member two: what comes second is superseded.
    let events = world.topic.read().await?.into_iter().filter_map(|record| record.event());
    let twice = events.into_iter().find(|event| event.member_id.starts_with("member-")).context("an event")?;
    let second = coupon_e2e::kafka::record::Event::of("OPERATED", &twice.member_id, 99);
    world.topic.write(&NewRecord::event(&second)).await?;
    eventually("it is superseded", crate::AFTER_ALL_ATTEMPTS, async || -> Result<bool> {
        let superseded: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues WHERE superseded_by IS NOT NULL")
            .fetch_one(&world.db)
            .await?;
        Ok(superseded == 1)
    })
    .await?;
    let verdict = world.quiet(SOON, &[]).await?;
    assert_eq!((verdict.issued, verdict.compensated), (7, 4));
    let superseded = topic.read().await?.into_iter().filter(|event| {
        event.value.as_deref().is_some_and(|value| String::from_utf8_lossy(value).contains("superseded_by"))
    });
    assert_eq!(superseded.count(), 1, "it names the request that holds");
    Ok(())
}
