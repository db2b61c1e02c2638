//! The campaign's life by the command line of `issuer-api`: what changes, what is refused, and what is said of it.

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use coupon_e2e::{wait::eventually, world::World};
use serde_json::{Value, json};

/// What was done to a campaign, oldest first: verb and change.
async fn audit(world: &World, code: &str, verb: &str) -> Result<Vec<Value>> {
    let changes = sqlx::query_scalar("SELECT change FROM operator_audit WHERE subject = $1 AND verb = $2 ORDER BY id");
    Ok(changes.bind(format!("coupons/{code}")).bind(verb).fetch_all(&world.db).await?)
}

async fn total(world: &World, code: &str) -> Result<i64> {
    let total = sqlx::query_scalar("SELECT total_quantity FROM coupons WHERE coupon_code = $1");
    Ok(total.bind(code).fetch_one(&world.db).await?)
}

async fn shown(world: &World, code: &str) -> Result<Value> {
    Ok(serde_json::from_str(&world.coupon(&["show", code, "--output", "json"]).await?.succeeded()?)?)
}

fn in_hours(hours: i64) -> String {
    (Utc::now() + TimeDelta::hours(hours)).to_rfc3339()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_total_without_data_in_redis_raises_and_says_so_or_changes_nothing() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("LOST", 5).await?;
    world.stock.flush().await?;
    sqlx::query("UPDATE coupons SET status = 'SUSPECT'").execute(&world.db).await?;
    let raised = world.set_total("LOST", 10).await?;
    assert!(raised.code == Some(0) && raised.stderr.contains("is set in PostgreSQL alone"), "{raised:?}");
    assert!(raised.stderr.contains("dlq-consumer rebuild LOST --by NAME"), "{raised:?}");
    assert_eq!(total(&world, "LOST").await?, 10);
    let lowered = world.set_total("LOST", 3).await?;
    assert!(lowered.code == Some(1) && lowered.stderr.contains("stays as it was"), "{lowered:?}");
    assert_eq!(total(&world, "LOST").await?, 10);
    let changes = audit(&world, "LOST", "coupon.set-total").await?;
    assert_eq!(changes[0], json!({ "from": { "total": 5 }, "to": { "total": 10, "version": 1 } }));
    assert_eq!(changes[2], json!({ "asked": { "total": 3, "version": 2 }, "refused": "NO_DATA" }));
    world.run("dlq-consumer", &["rebuild", "LOST", "--yes", "--by", "olga"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_total_that_was_refused_stands_in_the_audit_as_refused_and_never_as_a_change() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("AUDITED", 5).await?;
    let api = world.start_api().await?;
    for member in ["one", "two"] {
        assert!(world.member(&api, member)?.ask("AUDITED").await.is_held());
    }
    assert_eq!(world.set_total("AUDITED", 1).await?.code, Some(1));
    world.set_total("AUDITED", 2).await?.succeeded()?;
    let changes = audit(&world, "AUDITED", "coupon.set-total").await?;
    assert_eq!(
        changes,
        [
            json!({ "asked": { "total": 1, "version": 1 } }),
            json!({ "asked": { "total": 1, "version": 1 }, "refused": "BELOW_ISSUED" }),
            json!({ "asked": { "total": 2, "version": 2 } }),
            json!({ "from": { "total": 5 }, "to": { "total": 2, "version": 2 } }),
        ]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_changes_a_campaign_without_a_name() -> Result<()> {
    let world = World::new().await?;
    let nameless =
        async |words: &[&str]| world.run_with("issuer-api", &[&["coupon"], words].concat(), &[("USER", "")]).await;
    for words in [
        &["create", "SPRING", "--total", "5"][..],
        &["open", "SPRING"],
        &["close", "SPRING"],
        &["set-total", "SPRING", "3"],
        &["set-window", "SPRING", "--valid-days", "3"],
        &["delete", "SPRING"],
    ] {
        let refused = nameless(words).await?;
        assert!(refused.code == Some(2) && refused.stderr.contains("say who with --by"), "{words:?}: {refused:?}");
    }
    nameless(&["list"]).await?.succeeded()?;
    nameless(&["create", "SPRING", "--total", "5", "--by", "olga"]).await?.succeeded()?;
    let actors: Vec<String> =
        sqlx::query_scalar("SELECT actor FROM operator_audit ORDER BY id").fetch_all(&world.db).await?;
    assert_eq!(actors, ["olga"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mistyped_draft_is_deleted_and_nothing_else_is() -> Result<()> {
    let world = World::new().await?;
    world.create_campaign("SPRNG", 5, &[]).await?;
    world.coupon(&["delete", "SPRNG", "--by", "olga"]).await?.succeeded()?;
    assert_eq!(world.coupon(&["show", "SPRNG"]).await?.code, Some(1));
    assert_eq!(audit(&world, "SPRNG", "coupon.delete").await?, [json!({ "from": { "status": "DRAFT", "total": 5 } })]);
    world.open_campaign("OPENED", 5).await?;
    for status in ["OPEN", "CLOSED"] {
        let refused = world.coupon(&["delete", "OPENED"]).await?;
        assert!(refused.code == Some(1) && refused.stderr.contains("opened before"), "{status}: {refused:?}");
        world.coupon(&["close", "OPENED"]).await?.succeeded()?;
    }
    // Of a draft that was made for a parked request a decision may be there, which lives as long as the campaign.
    world.create_campaign("DECIDED", 5, &[]).await?;
    sqlx::query(
        "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at)
         SELECT coupon_id, gen_random_uuid(), 'm', 'COMPENSATED', 1, 1, now() FROM coupons WHERE coupon_code = 'DECIDED'",
    )
    .execute(&world.db)
    .await?;
    let refused = world.coupon(&["delete", "DECIDED"]).await?;
    assert!(refused.code == Some(1) && refused.stderr.contains("has decisions"), "{refused:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_reads_scheduled_before_its_window_over_after_it_and_archived_at_the_end() -> Result<()> {
    let world = World::new().await?;
    let api = world.start_api().await?;
    let member = world.member(&api, "looking")?;
    let tomorrow = in_hours(24);
    world.create_campaign("LATER", 5, &["--opens-at", &tomorrow]).await?;
    let opened = world.coupon(&["open", "LATER"]).await?;
    assert!(opened.stderr.contains(&format!("LATER accepts requests from {}Z on", &tomorrow[..19])), "{opened:?}");
    world.open_campaign("NOW", 5).await?;
    world.open_campaign("PAST", 5).await?;
    let ended = ["set-window", "PAST", "--opens-at", &in_hours(-2), "--closes-at", &in_hours(-1)];
    world.coupon(&ended).await?.succeeded()?;
    for (code, status) in [("LATER", "SCHEDULED"), ("NOW", "OPEN"), ("PAST", "OVER")] {
        let of_command = shown(&world, code).await?;
        assert_eq!((&of_command["status"], &of_command["stored_status"]), (&status.into(), &"OPEN".into()));
        assert_eq!(member.campaign(code).await?["status"], status);
    }
    let list = world.coupon(&["list"]).await?.succeeded()?;
    assert!(["SCHEDULED", "OVER"].iter().all(|status| list.contains(status)), "{list}");
    let refused = world.coupon(&["open", "PAST"]).await?;
    assert!(refused.code == Some(1) && refused.stderr.contains("coupon set-window PAST --closes-at"), "{refused:?}");
    let dlq = world.start_dlq_consumer().await?;
    eventually("the gauges say so too", crate::SOON, async || -> Result<bool> {
        let metrics = dlq.metrics().await?;
        let one = |status: &str| metrics.contains(&format!("coupon_campaigns{{status=\"{status}\"}} 1\n"));
        Ok(one("SCHEDULED") && one("OVER") && one("OPEN"))
    })
    .await?;
    sqlx::query("UPDATE coupons SET status = 'CLOSED', archived_at = now() WHERE coupon_code = 'PAST'")
        .execute(&world.db)
        .await?;
    assert_eq!(shown(&world, "PAST").await?["status"], "ARCHIVED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_window_moves_opening_closing_and_validity_in_postgresql_and_in_redis() -> Result<()> {
    let world = World::new().await?;
    let api = world.start_api().await?;
    world.create_campaign("MOVED", 5, &["--opens-at", &in_hours(24)]).await?;
    // A draft is in no Redis yet; the opening takes the window over.
    let (closes_at, draft) = (in_hours(48), ["set-window", "MOVED", "--valid-days", "7", "--closes-at"]);
    world.coupon(&[&draft[..], &[&closes_at]].concat()).await?.succeeded()?;
    world.coupon(&["open", "MOVED"]).await?.succeeded()?;
    let member = world.member(&api, "somebody")?;
    assert!(member.ask("MOVED").await.is_refused_as(409, "NOT_OPEN"));
    let closes_at = DateTime::parse_from_rfc3339(&closes_at)?.timestamp_millis();
    assert_eq!(world.stock.of("MOVED").await?.number("closes_at"), Some(closes_at));

    world.coupon(&["set-window", "MOVED", "--opens-at", &in_hours(-1)]).await?.succeeded()?;
    assert!(member.ask("MOVED").await.is_held());
    world.coupon(&["set-window", "MOVED", "--no-closes-at"]).await?.succeeded()?;
    let row = shown(&world, "MOVED").await?;
    assert_eq!((&row["closes_at"], &row["valid_days"], &row["status"]), (&Value::Null, &7.into(), &"OPEN".into()));
    assert_eq!(world.stock.of("MOVED").await?.number("closes_at"), Some(0));
    assert_eq!(audit(&world, "MOVED", "coupon.set-window").await?.len(), 3);

    let backwards = world.coupon(&["set-window", "MOVED", "--closes-at", &in_hours(-3)]).await?;
    assert!(backwards.code == Some(1) && backwards.stderr.contains("before it begins"), "{backwards:?}");
    let changes = audit(&world, "MOVED", "coupon.set-window").await?;
    assert_eq!(changes[3]["refused"], "BACKWARDS", "{changes:?}");
    let nothing = world.coupon(&["set-window", "MOVED"]).await?;
    assert!(nothing.code == Some(2) && nothing.stderr.contains("--opens-at"), "{nothing:?}");
    sqlx::query("UPDATE coupons SET status = 'OPENING'").execute(&world.db).await?;
    let filling = world.coupon(&["set-window", "MOVED", "--valid-days", "9"]).await?;
    assert!(filling.code == Some(1) && filling.stderr.contains("nothing was changed"), "{filling:?}");
    Ok(())
}

/// What Redis has lost takes the new window over with the rebuild.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_is_set_while_suspect_is_said_to_wait_for_the_rebuild_which_takes_it_over() -> Result<()> {
    let world = World::new().await?;
    let services = crate::Services::start(&world).await?;
    world.open_campaign("SUSPECTED", 5).await?;
    world.stock.flush().await?;
    sqlx::query("UPDATE coupons SET status = 'SUSPECT'").execute(&world.db).await?;
    let set = world.coupon(&["set-window", "SUSPECTED", "--closes-at", "2100-01-01T00:00:00Z"]).await?;
    assert!(set.code == Some(0) && set.stderr.contains("dlq-consumer rebuild SUSPECTED --by NAME"), "{set:?}");
    world.run("dlq-consumer", &["rebuild", "SUSPECTED", "--yes", "--by", "olga"]).await?.succeeded()?;
    let stock = world.stock.of("SUSPECTED").await?;
    assert_eq!((stock.number("closes_at"), stock.number("window_version")), (Some(4_102_444_800_000), Some(1)));
    drop(services);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_may_be_repeated_with_if_absent_and_a_wrong_number_is_told_its_range() -> Result<()> {
    let world = World::new().await?;
    let create = ["create", "AGAIN", "--total", "5", "--if-absent"];
    world.coupon(&create).await?.succeeded()?;
    world.coupon(&create).await?.succeeded()?;
    let other = world.coupon(&["create", "AGAIN", "--total", "6", "--if-absent"]).await?;
    assert!(other.code == Some(1) && other.stderr.contains("already"), "{other:?}");
    for total in ["-1", "1_000", "1e3", "9223372036854775808", "1000000001"] {
        let wrong = world.coupon(&["create", "WRONG", "--total", total]).await?;
        assert!(wrong.code == Some(2) && wrong.stderr.contains("from 0 to 1000000000"), "{total}: {wrong:?}");
    }
    let days = world.coupon(&["create", "WRONG", "--total", "1", "--valid-days", "1"]).await?.succeeded()?;
    assert!(days.contains("1 day\n"), "{days}");
    Ok(())
}
