//! What an operator may decide.

use anyhow::Result;
use coupon_e2e::{
    kafka::record::Event,
    wait::{eventually, stays},
    world::World,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    SOON, Services, issued_rows,
    rows::{Entry, Letter, ids, json},
    write::accepted,
};

/// Inserts a dead letter with a readable event.
async fn readable(world: &World, coupon: &str, member: &str, status: &str) -> Result<(i64, Uuid)> {
    let event = Event::of(coupon, member, 1);
    let letter = Letter { coupon: Some(coupon), status, request_id: Some(event.request_id), ..Letter::default() };
    let id = letter.plant(world).await?;
    sqlx::query("UPDATE dlq_events SET payload = $2, member_id = $3, event_version = 1 WHERE id = $1")
        .bind(id)
        .bind(event.to_json(1).to_string().into_bytes())
        .bind(member)
        .execute(&world.db)
        .await?;
    Ok((id, event.request_id))
}

async fn statuses(world: &World) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar("SELECT status FROM dlq_events ORDER BY id").fetch_all(&world.db).await?)
}

const WHO: [&str; 4] = ["--reason", "the member was paid", "--by", "olga"];

async fn with_reason(world: &World, words: &[&str]) -> Result<coupon_e2e::process::command::Output> {
    world.run("dlq-consumer", &[words, &WHO].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_request_that_is_parked_is_settled_by_no_word_and_compensate_takes_it() -> Result<()> {
    let world = World::new().await?;
    // Its campaign is not there: lost by a restore, or never made.
    let (parked, _) = readable(&world, "LOST", "somebody", "PARKED").await?;
    let number = format!("D{parked}");
    for verb in ["resolve", "ignore"] {
        let refused = with_reason(&world, &[verb, &number]).await?;
        let hint = format!("`dlq-consumer compensate {number} --reason WHY --by NAME`");
        assert!(refused.code == Some(1) && refused.stderr.contains(&hint), "{refused:?}");
        let all = with_reason(&world, &[verb, "--dead-letters", "--up-to", "99", "--yes"]).await?;
        assert!(all.code == Some(0) && all.stderr.contains("0 dead letters became"), "{all:?}");
    }
    let unknown = with_reason(&world, &["compensate", &number, "--yes"]).await?;
    assert!(unknown.code == Some(1) && unknown.stderr.contains("COUPON_UNKNOWN 1"), "{unknown:?}");
    assert_eq!(statuses(&world).await?, ["PARKED"]);

    world.create_campaign("LOST", 5, &[]).await?;
    with_reason(&world, &["compensate", &number, "--yes"]).await?.succeeded()?;
    assert_eq!(statuses(&world).await?, ["COMPENSATED"]);
    // Unreadable ones have no request, and an operator settles them as before.
    let garbage = Letter::default().plant(&world).await?;
    with_reason(&world, &["ignore", &format!("d{garbage}")]).await?.succeeded()?;
    // What is decided may be settled too.
    let entry: Uuid = sqlx::query_scalar("SELECT request_id FROM failed_coupon_issues").fetch_one(&world.db).await?;
    let again = Letter { coupon: Some("LOST"), request_id: Some(entry), ..Letter::default() }.plant(&world).await?;
    with_reason(&world, &["resolve", &format!("D{again}")]).await?.succeeded()?;
    Ok(())
}

/// Builds before this one let operators settle a request that was accepted and never decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_had_settled_undecided_is_told_and_published_by_nobody_until_it_is_reopened() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("OLD", 5).await?;
    let mut numbers = Vec::new();
    for (member, status) in [("resolved", "RESOLVED"), ("ignored", "IGNORED")] {
        let (letter, id) = readable(&world, "OLD", member, status).await?;
        world.stock.set_holder("OLD", member, Some(id)).await?;
        numbers.push(format!("D{letter}"));
    }
    world.stock.set_meta("OLD", &[("seq", "2"), ("holders", "2")]).await?;
    let (_issue, dlq) = tokio::try_join!(
        world.start_issue_consumer().into_future(),
        world.start_dlq_consumer().set("reconcile.every_ms", 1000).set("reconcile.apply", true).into_future()
    )?;
    eventually("it is measured", SOON, async || -> Result<bool> {
        Ok(dlq.metric("coupon_drift", "SETTLED_MARK").await? == Some(2.0))
    })
    .await?;
    let told = json(&world, &["reconcile", "OLD", "--apply", "--by", "olga"]).await;
    assert!(told.is_err(), "drift that is left is an error: {told:?}");
    stays("nothing is issued", SOON / 2, async || -> Result<bool> {
        Ok(crate::issued(&world, "OLD").await? == 0 && world.stock.of("OLD").await?.outbox.is_empty())
    })
    .await?;
    let message: String =
        sqlx::query_scalar("SELECT message FROM alarm_notices WHERE cause = 'DRIFT OLD'").fetch_one(&world.db).await?;
    assert!(message.contains("SETTLED_MARK 2"), "{message}");

    // A person decides: one gets the coupon, the other's unit goes back.
    with_reason(&world, &["reopen", &numbers[0], &numbers[1]]).await?.succeeded()?;
    with_reason(&world, &["replay", &numbers[0], "--yes"]).await?.succeeded()?;
    with_reason(&world, &["compensate", &numbers[1], "--yes"]).await?.succeeded()?;
    issued_rows(&world, "OLD", 1, SOON).await?;
    eventually("nothing differs any more", SOON, async || -> Result<bool> {
        Ok(dlq.metric("coupon_drift", "SETTLED_MARK").await? == Some(0.0)
            && world.stock.of("OLD").await?.left() == Some(4))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_compensated_by_hand_is_resolved_with_its_reason_and_no_filter_replays_it_and_nobody_is_alarmed()
-> Result<()> {
    let world = World::new().await?;
    world.open_campaign("NIGHT", 5).await?;
    let (held, _) = readable(&world, "NIGHT", "somebody", "HELD").await?;
    with_reason(&world, &["compensate", &format!("D{held}"), "--yes"]).await?.succeeded()?;
    sqlx::query("UPDATE coupon_issues SET given_back_at = now()").execute(&world.db).await?;

    let list = json(&world, &["list"]).await?;
    let entry = &list[0];
    assert_eq!(
        (&entry["status"], &entry["resolution"], &entry["resolved_by"], &entry["decided_by_hand"]),
        (&"RESOLVED".into(), &"the member was paid".into(), &"olga".into(), &true.into()),
        "{list}"
    );
    let all_sent: bool = sqlx::query_scalar("SELECT bool_and(alarm_sent) FROM dlq_events").fetch_one(&world.db).await?;
    assert!(all_sent, "nobody is alarmed by what an operator has done on purpose");
    let plan = async |words: &[&str]| json(&world, &[&["replay", "--dry-run"], words].concat()).await;
    assert_eq!(plan(&["--coupon", "NIGHT"]).await?["eligible"], 0);

    // Also when it is reopened, only a replay that names it takes it.
    let id = ids(&list)[0].to_string();
    with_reason(&world, &["reopen", &id]).await?.succeeded()?;
    let filtered = plan(&["--coupon", "NIGHT"]).await?;
    assert_eq!((&filtered["eligible"], &filtered["refused"]), (&0.into(), &json!({ "DECIDED_BY_HAND": 1 })));
    assert_eq!(plan(&[&id]).await?["eligible"], 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_carry_their_kind_and_the_wrong_one_is_refused_with_a_hint() -> Result<()> {
    let world = World::new().await?;
    let entry = Entry::default().plant(&world).await?;
    let entries = [entry, Entry::default().plant(&world).await?];
    let letter = Letter::default().plant(&world).await?;
    assert_eq!(entry, letter, "the same number twice");
    for (words, said) in
        [(["list", "--wide"], format!("\nE{entry} ")), (["list", "--dead-letters"], format!("\nD{letter} "))]
    {
        let printed = world.run("dlq-consumer", &words).await?.succeeded()?;
        assert!(printed.contains(&said), "{printed}");
    }
    let rows = json(&world, &["list", "--dead-letters"]).await?;
    assert_eq!((&rows[0]["id"], &rows[0]["number"]), (&letter.into(), &format!("D{letter}").into()), "{rows}");
    let [e, d, second] = [format!("E{entry}"), format!("D{letter}"), format!("E{}", entries[1])];
    assert_eq!(json(&world, &["show", &e]).await?["number"], e.as_str());
    assert_eq!(json(&world, &["show", &d]).await?["number"], d.as_str());
    assert_eq!(json(&world, &["show", "--dead-letter", &letter.to_string()]).await?["number"], d.as_str());

    for words in [
        &["show", "--dead-letter", &e][..],
        &["list", "--before", &d],
        &["resolve", "--dead-letters", &e, "--reason", "x", "--by", "olga"],
        &["resolve", "--up-to", &d, "--reason", "x", "--by", "olga", "--yes"],
        &["compensate", &e, "--reason", "x", "--by", "olga", "--yes"],
    ] {
        let refused = world.run("dlq-consumer", words).await?;
        assert!(refused.code == Some(2) && refused.stderr.contains("is the number of"), "{words:?}: {refused:?}");
    }
    let other = with_reason(&world, &["resolve", &format!("D{}", entries[1])]).await?;
    assert!(other.code == Some(1) && other.stderr.contains(&format!("{second} is an entry")), "{other:?}");
    let other = world.run("dlq-consumer", &["show", &format!("D{}", entries[1])]).await?;
    assert!(other.code == Some(1) && other.stderr.contains(&format!("{second} is an entry")), "{other:?}");
    // Both kinds in one go.
    let both = with_reason(&world, &["ignore", &e, &d]).await?;
    assert!(both.code == Some(0) && both.stderr.contains(&e) && both.stderr.contains(&d), "{both:?}");
    let audit = json(&world, &["audit", "--subject", &d]).await?;
    assert_eq!(audit[0]["subject"], format!("dlq_events/{letter}"));
    let table = world.run("dlq-consumer", &["audit"]).await?.succeeded()?;
    assert!(table.contains(&e) && table.contains(&d), "{table}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_resolved_by_a_slip_is_reopened_by_its_number_and_a_replay_is_not() -> Result<()> {
    let world = World::new().await?;
    let slip = Entry { status: "RESOLVED", ..Entry::default() }.plant(&world).await?;
    let replay = Entry { status: "RESOLVED", ..Entry::default() }.plant(&world).await?;
    sqlx::query("UPDATE failed_coupon_issues SET replay_of = $1 WHERE id = $2")
        .bind(slip)
        .bind(replay)
        .execute(&world.db)
        .await?;
    let reopened = with_reason(&world, &["reopen", &format!("E{slip}"), &format!("E{replay}")]).await?;
    assert!(reopened.code == Some(1) && reopened.stderr.contains("the replay of another entry"), "{reopened:?}");
    let shown = json(&world, &["show", &slip.to_string()]).await?;
    assert_eq!((&shown["status"], &shown["resolution"]), (&"PENDING".into(), &Value::Null), "{shown}");
    assert_eq!(shown["audit"][0]["change"], json!({ "from": "RESOLVED", "to": "PENDING" }));
    assert_eq!(json(&world, &["show", &replay.to_string()]).await?["status"], "RESOLVED");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compensate_has_a_dry_run_and_wants_a_bound_for_a_filter() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("CALLED-OFF", 5).await?;
    let (held, _) = readable(&world, "CALLED-OFF", "one", "HELD").await?;
    readable(&world, "CALLED-OFF", "two", "PARKED").await?;
    Letter { coupon: Some("CALLED-OFF"), status: "PARKED", ..Letter::default() }.plant(&world).await?;
    let unbound = with_reason(&world, &["compensate", "--coupon", "CALLED-OFF", "--yes"]).await?;
    assert!(unbound.code == Some(2) && unbound.stderr.contains("--up-to"), "{unbound:?}");
    let dry = ["compensate", "--coupon", "CALLED-OFF", "--up-to", "D99", "--dry-run"];
    let dry = world.run("dlq-consumer", &dry).await?.succeeded()?;
    assert_eq!(dry.trim(), "2 requests would be compensated, refused: UNREADABLE 1");
    assert_eq!(statuses(&world).await?, ["HELD", "PARKED", "PARKED"], "nothing was changed");
    let bound = format!("D{held}");
    with_reason(&world, &["compensate", "--coupon", "CALLED-OFF", "--up-to", &bound, "--yes"]).await?.succeeded()?;
    assert_eq!(statuses(&world).await?, ["COMPENSATED", "PARKED", "PARKED"], "no higher number");
    Ok(())
}

/// The whole way: an operator decides a request that could not be written, and the member may ask again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_that_is_compensated_by_hand_goes_back_and_the_member_may_ask_again() -> Result<()> {
    let world = World::new().await?;
    world.open_campaign("BY-HAND", 1).await?;
    let (held, request_id) = readable(&world, "BY-HAND", "somebody", "HELD").await?;
    world.stock.set_holder("BY-HAND", "somebody", Some(request_id)).await?;
    let services = Services::start(&world).await?;
    with_reason(&world, &["compensate", &held.to_string(), "--yes"]).await?.succeeded()?;
    eventually("the unit is back", SOON, async || -> Result<bool> {
        Ok(world.stock.of("BY-HAND").await?.left() == Some(1))
    })
    .await?;
    accepted(&world, &services.api, "BY-HAND", "somebody").await?;
    issued_rows(&world, "BY-HAND", 1, SOON).await
}
