//! E: what becomes of the numbers of decisions while nobody publishes them, and after rows were deleted by hand; and whose trace an
//! event belongs to.

use anyhow::{Context, Result, ensure};
use coupon_e2e::{failures::FailMode, process::Process, wait::eventually, world::World};

use crate::{
    AFTER_ALL_ATTEMPTS, SOON, Services,
    decisions::{ask, number, publishing},
    seen,
};

/// The numbers that were published, once there are so many, in their order.
async fn published(world: &World, events: usize) -> Result<Vec<i64>> {
    let topic = world.decisions.clone().context("a topic of decisions")?;
    eventually("the decisions are published", SOON, async || -> Result<Option<Vec<i64>>> {
        let mut numbers: Vec<i64> = topic.read().await?.iter().map(number).collect();
        numbers.sort_unstable();
        Ok((numbers.len() >= events).then_some(numbers))
    })
    .await
}

/// Has 3 old and 2 young members decided while publishing is switched off. Returns what still runs.
async fn decided_while_nobody_publishes(world: &World, code: &str) -> Result<(Process, Process)> {
    let off = world.start_dlq_consumer().set("decisions.enabled", false).set("reconcile.every_ms", 0);
    let (api, issue_consumer, dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        off.into_future()
    )?;
    ask(world, &api, code, "old", 3).await?;
    ask(world, &api, code, "young", 2).await?;
    dlq_consumer.terminate(SOON).await?;
    Ok((api, issue_consumer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_publishes_old_numbers_go_and_publishing_begins_after_them() -> Result<()> {
    let (world, topic) = publishing("OFF", 60).await?;
    topic.create(3, &[]).await?;
    let off = || world.start_dlq_consumer().set("decisions.enabled", false);
    let (api, _issue_consumer, dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        off().into_future()
    )?;
    ask(&world, &api, "OFF", "old", 5).await?;
    for statement in [
        "UPDATE coupon_decision_batches SET decided_at = decided_at - interval '40 days'",
        "UPDATE coupon_issues SET decided_at = decided_at - interval '40 days'",
    ] {
        sqlx::raw_sql(statement).execute(&world.db).await?;
    }
    ask(&world, &api, "OFF", "young", 3).await?;
    world.run("dlq-consumer", &["reconcile", "OFF"]).await?.succeeded()?;
    // A command does not know whether somebody publishes.
    world.run("dlq-consumer", &["purge", "--yes", "--by", "olga"]).await?.succeeded()?;
    let kept = async || -> Result<Option<i64>> {
        Ok(sqlx::query_scalar("SELECT min(first_no) FROM coupon_decision_batches").fetch_one(&world.db).await?)
    };
    assert_eq!(kept().await?, Some(1));
    dlq_consumer.terminate(SOON).await?;
    let dlq_consumer = off().await?;
    eventually("the service has purged the old ones", SOON, async || Ok::<_, anyhow::Error>(kept().await? == Some(6)))
        .await?;
    dlq_consumer.terminate(SOON).await?;

    let _publishing = world.start_dlq_consumer().await?;
    assert_eq!(published(&world, 3).await?, [6, 7, 8], "what is kept is told");
    ask(&world, &api, "OFF", "new", 1).await?;
    assert_eq!(published(&world, 4).await?, [6, 7, 8, 9]);
    world.run("dlq-consumer", &["reconcile", "OFF"]).await?.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_rows_were_deleted_by_hand_an_operator_goes_on_without_them() -> Result<()> {
    let (world, topic) = publishing("DAMAGED", 60).await?;
    topic.create(3, &[]).await?;
    let off = world.start_dlq_consumer().set("decisions.enabled", false);
    let (api, _issue_consumer, dlq_consumer) = tokio::try_join!(
        world.start_api().into_future(),
        world.start_issue_consumer().into_future(),
        off.into_future()
    )?;
    ask(&world, &api, "DAMAGED", "member", 6).await?;
    dlq_consumer.terminate(SOON).await?;
    sqlx::raw_sql(
        "DELETE FROM coupon_issues i USING coupon_decision_batches b WHERE i.request_id = b.request_ids[2 - b.first_no + 1]",
    )
    .execute(&world.db)
    .await?;
    sqlx::raw_sql("UPDATE coupons SET issued_quantity = issued_quantity - 1").execute(&world.db).await?;
    let differs = world.run("dlq-consumer", &["reconcile", "DAMAGED"]).await?;
    ensure!(
        differs.code == Some(3) && differs.stdout.contains("dlq-consumer decisions accept-missing"),
        "the way out is named: {differs:?}"
    );
    // What Redis knows of the deleted decision is not to be published again.
    let relay = world.start_dlq_consumer().set("reconcile.every_ms", 0).await?;
    relay
        .wait_for_log("nothing after the gap is published", SOON, |line| {
            line.text.contains("decision 2 of DAMAGED has no row any more") && line.text.contains("accept-missing")
        })
        .await?;
    assert_eq!(published(&world, 1).await?, [1]);

    let words = ["decisions", "accept-missing", "--coupon", "DAMAGED", "--reason", "lost in T-17", "--by", "olga"];
    let unasked = world.run("dlq-consumer", &words).await?;
    ensure!(unasked.code == Some(2) && unasked.stderr.contains("--yes"), "{unasked:?}");
    let accepted = world.run("dlq-consumer", &[&words[..], &["--yes"]].concat()).await?.succeeded()?;
    ensure!(accepted.contains("numbers 2 to 2 of DAMAGED have no decision"), "{accepted}");
    assert_eq!(published(&world, 5).await?, [1, 3, 4, 5, 6]);
    let after = world.run("dlq-consumer", &["reconcile", "DAMAGED"]).await?;
    ensure!(!after.stdout.contains("NUMBERS_DIFFER"), "{after:?}");
    let audited: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM operator_audit
         WHERE verb = 'decisions.accept-missing' AND actor = 'olga' AND reason = 'lost in T-17' AND subject = 'coupons/DAMAGED'",
    )
    .fetch_one(&world.db)
    .await?;
    assert_eq!(audited, 1);
    let nowhere = ["decisions", "accept-missing", "--coupon", "NOWHERE", "--reason", "x", "--by", "olga", "--yes"];
    let nowhere = world.run("dlq-consumer", &nowhere).await?;
    ensure!(nowhere.code == Some(1) && nowhere.stderr.contains("there is no coupon NOWHERE"), "{nowhere:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_may_have_been_told_to_nobody_are_not_accepted_as_missing() -> Result<()> {
    let (world, topic) = publishing("LOST", 60).await?;
    topic.create(3, &[]).await?;
    let _services = decided_while_nobody_publishes(&world, "LOST").await?;
    // All as old as what retention has purged of some campaign, and the first ones deleted by hand.
    for statement in [
        "UPDATE coupon_issues SET decided_at = decided_at - interval '40 days'",
        "INSERT INTO operator_audit (at, actor, verb, subject, change, reason)
         VALUES (now(), 'dlq-consumer', 'purge', 'coupon_decision_batches',
                 jsonb_build_object('deleted', 1, 'older_than', now() - interval '30 days'), '')",
        "INSERT INTO coupon_decision_marks (coupon_id, complete_before) SELECT coupon_id, now() FROM coupons
         ON CONFLICT (coupon_id) DO UPDATE SET complete_before = now()",
        "DELETE FROM coupon_decision_batches WHERE first_no <= 3",
    ] {
        sqlx::raw_sql(statement).execute(&world.db).await?;
    }
    let words =
        ["decisions", "accept-missing", "--coupon", "LOST", "--reason", "lost in T-18", "--by", "olga", "--yes"];
    let refused = world.run("dlq-consumer", &words).await?;
    let said = "3 decisions of LOST at least have lost their numbers";
    ensure!(refused.code == Some(1) && refused.stderr.contains(said), "{refused:?}");

    // What the runbook says without a backup.
    let number_all = "UPDATE coupon_decision_marks SET complete_before = '-infinity'
                      WHERE coupon_id = (SELECT coupon_id FROM coupons WHERE coupon_code = 'LOST')";
    sqlx::raw_sql(number_all).execute(&world.db).await?;
    let accepted = world.run("dlq-consumer", &words).await?.succeeded()?;
    ensure!(accepted.contains("numbers 1 to 3 of LOST have no decision"), "{accepted}");
    let _publishing = world.start_dlq_consumer().set("reconcile.every_ms", 0).await?;
    assert_eq!(published(&world, 5).await?, [4, 5, 6, 7, 8]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_purged_unpublished_after_a_relay_has_read_the_mark_is_no_gap() -> Result<()> {
    let (world, topic) = publishing("UPDATED", 60).await?;
    topic.create(3, &[]).await?;
    let _services = decided_while_nobody_publishes(&world, "UPDATED").await?;
    // As an older build where publishing is still off purges, at the worst moment.
    sqlx::raw_sql(
        "CREATE FUNCTION purge_meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             DELETE FROM coupon_decision_batches WHERE first_no <= 3;
             UPDATE coupon_decision_marks SET relayed_to = 3 WHERE relayed_to < 3;
             RETURN NULL;
         END $$;
         CREATE TRIGGER purge_meanwhile AFTER INSERT ON coupon_decision_marks
         FOR EACH ROW EXECUTE FUNCTION purge_meanwhile()",
    )
    .execute(&world.db)
    .await?;
    let relay = world.start_dlq_consumer().set("reconcile.every_ms", 0).await?;
    assert_eq!(published(&world, 2).await?, [4, 5]);
    assert!(!relay.log_contains("has no row any more"), "nobody has deleted rows by hand");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_event_of_a_decision_belongs_to_the_trace_of_its_request() -> Result<()> {
    let (world, topic) = publishing("TRACED", 60).await?;
    topic.create(3, &[]).await?;
    world.fail_member("TRACED", "unlucky", FailMode::Permanently).await?;
    let services = Services::start(&world).await?;
    for (member, flags) in [("lucky", "01"), ("unlucky", "01"), ("unsampled", "00")] {
        let trace = seen::parent(flags);
        seen::ask(&world, &services.api, "TRACED", member, &[("traceparent", &trace)]).await?;
    }
    seen::ask(&world, &services.api, "TRACED", "untraced", &[]).await?;
    let events = eventually("all four are published", AFTER_ALL_ATTEMPTS * 2, async || -> Result<Option<Vec<_>>> {
        let events = topic.read().await?;
        Ok((events.len() >= 4).then_some(events))
    })
    .await?;
    for event in events {
        let member = String::from_utf8(event.key.clone().unwrap_or_default())?;
        let expected = ["lucky", "unlucky"].contains(&member.as_str()).then(|| seen::parent("01"));
        assert_eq!(event.header("traceparent"), expected.as_deref(), "{member}");
    }
    world.quiet(SOON, &[]).await?;
    Ok(())
}
