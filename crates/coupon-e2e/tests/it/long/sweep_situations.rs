//! The crash sweep in special situations: outages, a Redis that sold too much, dead letters held for an upgrade.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    failures::FailMode,
    kafka::record::{Event, NewRecord},
    oracle::Kind,
    process::Process,
    proxy::Proxy,
    wait::eventually,
    world::World,
};

use super::sweep::{ABORTED, CONVERGED, Run, Victim, aborted};
use crate::{SOON, issued_rows, unavailable};

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
            process.wait_for_log("the breaker opens", SOON, unavailable).await?;
            way.restore().await?;
            aborted(&process).await?;
            let (_issue, _dlq) =
                tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
            issued_rows(&world, "PROBED", 1, SOON * 2).await?;
            world.quiet(SOON * 2, &[Kind::DeadLetterUnlabelled]).await?;
        }
    }
    Ok(())
}

/// At the start, when the contract with the servers is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_may_end_while_they_look_whether_postgresql_takes_writes() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LOOKED", 10).await?;
    let api = world.start_api().await?;
    for moment in ["before", "after"] {
        for victim in [Victim::IssueConsumer, Victim::DlqConsumer] {
            let run = Run { world: &world, victim, point: format!("try a commit:{moment}") };
            ensure!(world.member(&api, &format!("{moment}-{victim:?}"))?.ask("LOOKED").await.is_held());
            // It may have become ready before.
            match run.launch(victim).env("COUPON_CRASH_AT", &run.point).await {
                Ok(process) => aborted(&process).await?,
                Err(error) => ensure!(format!("{error:#}").contains(ABORTED), "{error:#}"),
            }
        }
    }
    let (_issue, _dlq) =
        tokio::try_join!(world.start_issue_consumer().into_future(), world.start_dlq_consumer().into_future())?;
    issued_rows(&world, "LOOKED", 4, SOON * 2).await?;
    world.quiet(SOON * 2, &[]).await?;
    Ok(())
}

/// PostgreSQL has fewer coupons than Redis: what fits is issued, the rest is compensated, and the gate closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_may_end_while_they_find_out_that_redis_sold_too_much() -> Result<()> {
    for (victim, effect) in [
        (Victim::IssueConsumer, "issue what fits"),
        (Victim::DlqConsumer, "issue what fits"),
        (Victim::DlqConsumer, "set the gate"),
    ] {
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
            aborted(ended).await?;
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

/// A dead letter that an older build held, and this one reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dlq_consumer_may_end_while_it_decides_what_was_held_for_it() -> Result<()> {
    for moment in ["before", "after"] {
        let world = World::new().await?;
        world.open_campaign("HELD", 5).await?;
        let event = Event::of("HELD", "patient", 1);
        world.stock.set_holder("HELD", "patient", Some(event.request_id)).await?;
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
        aborted(&process).await?;
        let _again = run.launch(Victim::DlqConsumer).await?;
        eventually("the dead letter has its new status", SOON, async || -> Result<bool> {
            let status: String = sqlx::query_scalar("SELECT status FROM dlq_events").fetch_one(&world.db).await?;
            Ok(status == "RECOVERED")
        })
        .await?;
        issued_rows(&world, "HELD", 1, SOON).await?;
        world.quiet(SOON, &[]).await?;
    }
    Ok(())
}

/// Every write fails and no request may be compensated: what is undecided is held.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dlq_consumer_may_end_while_it_keeps_what_is_undecided() -> Result<()> {
    for moment in ["before", "after"] {
        let world = World::new().await?;
        world.open_campaign("KEPT", 5).await?;
        world.fail_campaign("KEPT", FailMode::Permanently).await?;
        let run = Run { world: &world, victim: Victim::DlqConsumer, point: format!("keep what is undecided:{moment}") };
        let launch = run.launch(Victim::DlqConsumer).set("give_up.burst", 0).env("COUPON_CRASH_AT", &run.point);
        let (api, _issue, process) = tokio::try_join!(
            world.start_api().into_future(),
            world.start_issue_consumer().into_future(),
            launch.into_future()
        )?;
        for number in 0..3 {
            ensure!(world.member(&api, &format!("member-{number}"))?.ask("KEPT").await.is_held());
        }
        aborted(&process).await?;
        let _again = run.launch(Victim::DlqConsumer).set("give_up.burst", 0).await?;
        eventually("all are held", SOON * 2, async || -> Result<bool> { Ok(world.verdict().await?.held == 3) }).await?;
        world.quiet(SOON, &[]).await?;
    }
    Ok(())
}

/// Redis went back in time, and the process that notices it ends while it notes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_api_may_end_while_it_notes_a_suspicion() -> Result<()> {
    for moment in ["before", "after"] {
        let world = World::new().await?;
        world.open_campaign("BEHIND", 10).await?;
        sqlx::query("UPDATE coupons SET high_seq = 7").execute(&world.db).await?;
        let point = format!("change a coupon's status:{moment}");
        let api = world.start_api().env("COUPON_CRASH_AT", &point).await?;
        let asked = async |api: &Process| -> Result<()> {
            let member = world.member(api, "somebody")?;
            eventually("it is noticed", SOON, async || {
                let answer = member.ask("BEHIND").await;
                answer.is_refused_as(503, "GATE_CLOSED") || answer.status.is_none()
            })
            .await
        };
        asked(&api).await?;
        aborted(&api).await?;
        let again = world.start_api().await?;
        asked(&again).await?;
        eventually("PostgreSQL knows", SOON, async || -> Result<bool> {
            let status: String = sqlx::query_scalar("SELECT status FROM coupons").fetch_one(&world.db).await?;
            Ok(status == "SUSPECT")
        })
        .await?;
    }
    Ok(())
}
