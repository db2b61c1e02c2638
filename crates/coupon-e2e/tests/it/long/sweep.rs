//! The crash sweep: each process ends at each of its points in turn, before and after the effect, under load; it is
//! started again, and every promise holds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::{FailMode, Rule},
    kafka::record::{Event, NewRecord},
    oracle::Kind,
    process::{Process, launch::Launch, logs::LogLine},
    proxy::Proxy,
    wait::eventually,
    world::World,
};

use super::points::{OF_API, OF_COMMANDS, OF_DLQ_CONSUMER, OF_ISSUE_CONSUMER};
use crate::{SOON, issued_rows};

/// Time to converge after a crash: a session time-out, a lease, back-offs.
const CONVERGED: Duration = Duration::from_mins(1);
const MEMBERS: usize = 12;
const ABORTED: &str = "signal: 6";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Api,
    IssueConsumer,
    DlqConsumer,
}

/// The services of one run, one of which is to end at a point.
struct Run<'w> {
    world: &'w World,
    victim: Victim,
    point: String,
}

impl<'w> Run<'w> {
    fn launch(&self, which: Victim) -> Launch<'w> {
        match which {
            Victim::Api => self.world.start_api(),
            Victim::IssueConsumer => self.world.start_issue_consumer(),
            Victim::DlqConsumer => self.world.start_dlq_consumer(),
        }
    }

    async fn start(&self, which: Victim) -> Result<Process> {
        let launch = self.launch(which);
        if which == self.victim {
            return launch.env("COUPON_CRASH_AT", &self.point).without_waiting().await;
        }
        launch.await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_api_may_end_at_each_of_its_points() -> Result<()> {
    sweep(Victim::Api, OF_API).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issue_consumer_may_end_at_each_of_its_points() -> Result<()> {
    sweep(Victim::IssueConsumer, OF_ISSUE_CONSUMER).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dlq_consumer_may_end_at_each_of_its_points() -> Result<()> {
    sweep(Victim::DlqConsumer, OF_DLQ_CONSUMER).await
}

async fn sweep(victim: Victim, effects: &[(&str, u32)]) -> Result<()> {
    for (effect, nth) in effects {
        for moment in ["before", "after"] {
            // The attempt is no effect of its own: what follows it is.
            if (*effect, moment) != ("attempt", "after") {
                let point = format!("{effect}:{moment}#{nth}");
                flow(victim, &point).await.with_context(|| point.clone())?;
                println!("swept {point}");
            }
        }
    }
    Ok(())
}

/// Members ask, two of them for coupons that cannot be written; a record that nobody can read; a duplicate of a
/// compensated request; a dead letter that can be written after all. Somewhere in this the victim ends.
async fn flow(victim: Victim, point: &str) -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("SWEPT", MEMBERS as u64).await?;
    let mut rules = Vec::new();
    for unlucky in ["member-0", "member-1"] {
        rules.push(world.fail_member("SWEPT", unlucky, FailMode::Permanently).await?);
    }
    world.topic.write(&NewRecord::of("nobody", "no event")).await?;
    let run = Run { world: &world, victim, point: point.to_owned() };
    let (api, issue, dlq) =
        tokio::try_join!(run.start(Victim::Api), run.start(Victim::IssueConsumer), run.start(Victim::DlqConsumer))?;
    let mut processes = [api, issue, dlq];
    for number in 0..MEMBERS {
        ask(&world, &mut processes[0], &run, number).await?;
    }
    redrive(&world, &rules).await?;
    let ended = &processes[victim as usize];
    if victim != Victim::Api || !is_restarted(ended) {
        let status = ended.exit(SOON * 2).await.context("it never came to the point")?;
        ensure!(status.to_string().contains(ABORTED), "{status}");
        processes[victim as usize] = run.launch(victim).await?;
    }
    for number in 0..MEMBERS {
        ask(&world, &mut processes[0], &run, number).await?;
    }
    let expected = [Kind::DeadLetterUnlabelled];
    let verdict = world.quiet(CONVERGED, &expected).await?;
    ensure!(verdict.compensated <= 4 && verdict.issued + 2 >= MEMBERS, "{verdict}");
    Ok(())
}

/// Whether this process was started anew without a point.
fn is_restarted(process: &Process) -> bool {
    !process.log_contains("crash point") && process.is_running()
}

/// A member asks until there is an answer; an API that has ended on the way is started again.
async fn ask(world: &World, api: &mut Process, run: &Run<'_>, number: usize) -> Result<()> {
    let deadline = std::time::Instant::now() + SOON * 2;
    loop {
        if !api.is_running() {
            ensure!(run.victim == Victim::Api, "the API has ended: {:?}", api.exit(SOON).await?);
            let status = api.exit(SOON).await?;
            ensure!(status.to_string().contains(ABORTED), "{status}");
            *api = run.launch(Victim::Api).await?;
        }
        let answer = world.member(api, &format!("member-{number}"))?.ask("SWEPT").await;
        if answer.is_held() || answer.status == Some(409) {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < deadline, "{answer:?}");
        coupon_e2e::wait::pause(Duration::from_millis(50)).await;
    }
}

/// What is compensated comes once more by the main topic, and what is issued by the dead letter topic.
async fn redrive(world: &World, rules: &[Rule]) -> Result<()> {
    let compensated = async || -> Result<Option<uuid::Uuid>> {
        let id = sqlx::query_scalar("SELECT request_id FROM coupon_issues WHERE decision = 'COMPENSATED' LIMIT 1");
        Ok(id.fetch_optional(&world.db).await?)
    };
    // While the victim is gone nothing may be decided, and then there is nothing to repeat.
    let Ok(compensated) = eventually("something is compensated", Duration::from_secs(5), compensated).await else {
        return Ok(());
    };
    // Otherwise the database would refuse the repeated request before it finds the decision.
    for rule in rules {
        rule.lift().await?;
    }
    let records = world.topic.read().await?;
    let of =
        |id: uuid::Uuid| records.iter().find(move |record| record.event().is_some_and(|event| event.request_id == id));
    let issued = records.iter().find(|record| record.event().is_some_and(|event| event.request_id != compensated));
    world.topic.write(&of(compensated).context("the event of the compensated request")?.again()).await?;
    world.dlq.write(&issued.context("another event")?.again()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_may_end_at_each_of_their_points_and_are_repeated() -> Result<()> {
    for effect in OF_COMMANDS {
        for moment in ["before", "after"] {
            let point = format!("{effect}:{moment}");
            command(effect, &point).await.with_context(|| point.clone())?;
            println!("swept {point}");
        }
    }
    Ok(())
}

async fn command(effect: &str, point: &str) -> Result<()> {
    let world = World::new().await?;
    let create: &[&str] = &["coupon", "create", "SWEPT", "--total", "5"];
    let open: &[&str] = &["coupon", "open", "SWEPT"];
    let close: &[&str] = &["coupon", "close", "SWEPT"];
    let total: &[&str] = &["coupon", "set-total", "SWEPT", "7"];
    let crash = [("COUPON_CRASH_AT", point)];
    match effect {
        "create a coupon" => {
            interrupted(&world, "issuer-api", create, &crash).await?;
            // Done before the crash, or now.
            let again = world.run("issuer-api", create).await?;
            ensure!(again.code == Some(0) || again.stderr.contains("already"), "{again:?}");
            world.run("issuer-api", open).await?.succeeded()?;
        }
        "claim a version of the total" | "set the total in redis" | "settle the total" => {
            world.open_campaign("SWEPT", 5).await?;
            repeated(&world, total, &crash).await?;
            assert_eq!(world.stock.of("SWEPT").await?.number("total"), Some(7));
        }
        "copy marks" => {
            issued_and_lost(&world).await?;
            repeated(&world, open, &crash).await?;
        }
        "settle a failed request" => return settle(&world, &crash).await,
        _ => {
            world.run("issuer-api", create).await?.succeeded()?;
            repeated(&world, open, &crash).await?;
            if ["change a coupon's status", "set the gate"].contains(&effect) {
                repeated(&world, close, &crash).await?;
                assert_eq!(world.stock.of("SWEPT").await?.meta["status"], "CLOSED");
                world.run("issuer-api", open).await?.succeeded()?;
            }
        }
    }
    assert_eq!(world.stock.of("SWEPT").await?.meta["status"], "OPEN");
    let (api, _issue) = tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
    ensure!(world.member(&api, "somebody")?.ask("SWEPT").await.is_held());
    let rows = i64::from(effect == "copy marks") * 2 + 1;
    issued_rows(&world, "SWEPT", rows, SOON).await?;
    world.quiet(SOON, &[]).await?;
    Ok(())
}

async fn interrupted(world: &World, binary: &str, words: &[&str], crash: &[(&str, &str)]) -> Result<()> {
    let output = world.run_with(binary, words, crash).await?;
    ensure!(output.status.contains(ABORTED), "it never came to the point: {output:?}");
    Ok(())
}

async fn repeated(world: &World, words: &[&str], crash: &[(&str, &str)]) -> Result<()> {
    interrupted(world, "issuer-api", words, crash).await?;
    world.run("issuer-api", words).await?.succeeded().map(drop)
}

/// Two coupons are issued; then Redis loses everything, and somebody prepares the row for another filling, as a rebuild
/// does.
async fn issued_and_lost(world: &World) -> Result<()> {
    world.open_campaign("SWEPT", 5).await?;
    {
        let (api, _issue) =
            tokio::try_join!(world.start_api().into_future(), world.start_issue_consumer().into_future())?;
        for member in ["one", "two"] {
            ensure!(world.member(&api, member)?.ask("SWEPT").await.is_held());
        }
        issued_rows(world, "SWEPT", 2, SOON).await?;
    }
    world.stock.flush().await?;
    sqlx::query("UPDATE coupons SET status = 'OPENING', epoch = epoch + 1").execute(&world.db).await?;
    Ok(())
}

/// An operator's word on a failed request, cut off and repeated: one change, one entry in the audit.
async fn settle(world: &World, crash: &[(&str, &str)]) -> Result<()> {
    sqlx::query(
        "INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason)
         VALUES ('SWEPT', 'somebody', gen_random_uuid(), 'PENDING', 'UNKNOWN', 'P0001', 'planted')",
    )
    .execute(&world.db)
    .await?;
    let words: &[&str] = &["resolve", "1", "--reason", "by hand", "--by", "sweep"];
    interrupted(world, "dlq-consumer", words, crash).await?;
    let again = world.run("dlq-consumer", words).await?;
    ensure!(again.code == Some(0) || again.stderr.contains("RESOLVED"), "{again:?}");
    let (status, audited): (String, i64) = sqlx::query_as(
        "SELECT status, (SELECT count(*) FROM operator_audit WHERE verb = 'resolve') FROM failed_coupon_issues",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!((status.as_str(), audited), ("RESOLVED", 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_may_end_while_they_probe_a_database_that_was_away() -> Result<()> {
    for moment in ["before", "after"] {
        for victim in [Victim::IssueConsumer, Victim::DlqConsumer] {
            let world = World::new().await?;
            world.open_campaign("PROBED", 10).await?;
            let way = Proxy::before(&world.database_url).await?;
            let run = Run { world: &world, victim, point: format!("commit a probe:{moment}") };
            let api = world.start_api().await?;
            let launch = run.launch(victim).database_through(&way).env("COUPON_CRASH_AT", &run.point);
            let process = launch.await?;
            way.cut().await?;
            ensure!(world.member(&api, "somebody")?.ask("PROBED").await.is_held());
            let event = world.topic.read().await?.pop().context("the event")?;
            world.dlq.write(&event.again()).await?;
            let away = |line: &LogLine| line.message().starts_with("dependency unavailable");
            process.wait_for_log("the breaker opens", SOON, away).await?;
            way.restore().await?;
            let status = process.exit(SOON).await.context("it never came to the point")?;
            ensure!(status.to_string().contains(ABORTED), "{status}");
            let (_issue, _dlq) =
                tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
            issued_rows(&world, "PROBED", 1, SOON * 2).await?;
            world.quiet(SOON * 2, &[Kind::DeadLetterUnlabelled]).await?;
        }
    }
    Ok(())
}

/// PostgreSQL has fewer coupons than Redis believes: what fits is issued, the rest is given up, and the gate closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_may_end_while_they_find_out_that_redis_sold_too_much() -> Result<()> {
    for (victim, effect) in [(Victim::IssueConsumer, "issue what fits"), (Victim::DlqConsumer, "set the gate")] {
        for moment in ["before", "after"] {
            let world = World::new().await?;
            world.open_campaign("OVER", 5).await?;
            let api = world.start_api().await?;
            for number in 0..5 {
                ensure!(world.member(&api, &format!("member-{number}"))?.ask("OVER").await.is_held());
            }
            sqlx::query("UPDATE coupons SET total_quantity = 3").execute(&world.db).await?;
            let run = Run { world: &world, victim, point: format!("{effect}:{moment}") };
            let (issue, dlq) = tokio::try_join!(run.start(Victim::IssueConsumer), run.start(Victim::DlqConsumer))?;
            let ended = if victim == Victim::IssueConsumer { &issue } else { &dlq };
            let status = ended.exit(SOON * 2).await.context("it never came to the point")?;
            ensure!(status.to_string().contains(ABORTED), "{status}");
            let _again = run.launch(victim).await?;
            issued_rows(&world, "OVER", 3, SOON * 2).await?;
            let verdict = world.quiet(CONVERGED, &[Kind::TotalsDiffer]).await?;
            ensure!((verdict.issued, verdict.compensated) == (3, 2), "{verdict}");
            eventually("the gate is closed", SOON, async || -> Result<bool> {
                Ok(world.stock.of("OVER").await?.meta["status"] == "SUSPECT")
            })
            .await?;
        }
    }
    Ok(())
}

/// A letter that an older build held, and this one reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dlq_consumer_may_end_while_it_decides_what_was_held_for_it() -> Result<()> {
    for moment in ["before", "after"] {
        let world = World::new().await?;
        world.open_campaign("HELD", 5).await?;
        let event = Event::of("HELD", "patient", 1);
        world.stock.set_mark("HELD", "patient", Some(event.request_id)).await?;
        // As the first stage has written it, so that the oracle knows where it comes from.
        let (partition, offset) = world.topic.write(&NewRecord::event(&event)).await?;
        sqlx::query(
            "INSERT INTO dlq_events (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type,
                 original_event_id, coupon_code, member_id, event_version, payload, headers, error_class, error_code,
                 cause, error_message, stack_trace, attempts, status, alarm_sent)
             VALUES ($1, $2, $3, 0, 'UNKNOWN', $4, 'HELD', 'patient', 1, $5, '[]', 'MALFORMED', 'NEWER_VERSION',
                 'planted', 'planted', '', 1, 'HELD', true)",
        )
        .bind(world.dlq.name())
        .bind(partition)
        .bind(offset)
        .bind(event.request_id)
        .bind(event.to_json(1).to_string().into_bytes())
        .execute(&world.db)
        .await?;
        let run = Run { world: &world, victim: Victim::DlqConsumer, point: format!("move a dead letter on:{moment}") };
        let process = run.start(Victim::DlqConsumer).await?;
        let status = process.exit(SOON).await.context("it never came to the point")?;
        ensure!(status.to_string().contains(ABORTED), "{status}");
        let _again = run.launch(Victim::DlqConsumer).await?;
        eventually("the letter is moved on", SOON, async || -> Result<bool> {
            let status: String = sqlx::query_scalar("SELECT status FROM dlq_events").fetch_one(&world.db).await?;
            Ok(status == "RECOVERED")
        })
        .await?;
        issued_rows(&world, "HELD", 1, SOON).await?;
        world.quiet(SOON, &[]).await?;
    }
    Ok(())
}
