//! E: an erasure that is cut off, or makes no sense.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use coupon_e2e::world::World;
use uuid::Uuid;

use crate::{
    erasure::{KEY, erase, key, member, number},
    erasure_places::named,
    long::{ABORTED, OF_ERASURE},
    rows::{Entry, Letter},
};

/// A coupon, a holder entry, an entry and a dead letter of a member of the closed campaign SWEPT.
async fn planted(world: &World, id: &str) -> Result<()> {
    let request = Uuid::now_v7();
    sqlx::query(
        "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
         SELECT coupon_id, $1, $2, 'ISSUED', epoch, 1, now(), now() FROM coupons WHERE coupon_code = 'SWEPT'",
    )
    .bind(request)
    .bind(id)
    .execute(&world.db)
    .await?;
    sqlx::query("UPDATE coupons SET issued_quantity = issued_quantity + 1").execute(&world.db).await?;
    world.stock.set_holder("SWEPT", id, Some(request)).await?;
    let reason = format!("no coupon for {id}");
    Entry { coupon: "SWEPT", member: id, status: "RESOLVED", reason: &reason, ..Entry::default() }.plant(world).await?;
    // A planted entry has its reason there too; it is the name of an operator, who is no member.
    sqlx::query("UPDATE failed_coupon_issues SET resolved_by = 'olga'").execute(&world.db).await?;
    Letter { coupon: Some("SWEPT"), status: "IGNORED", text: id, ..Letter::default() }.plant(world).await?;
    Ok(())
}

/// Holders in PostgreSQL and in Redis, each with the request.
async fn holders(world: &World) -> Result<[BTreeMap<String, String>; 2]> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT member_id, request_id::text FROM coupon_issues WHERE decision = 'ISSUED'")
            .fetch_all(&world.db)
            .await?;
    Ok([rows.into_iter().collect(), world.stock.of("SWEPT").await?.issued])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e_an_erasure_may_end_at_each_of_its_points_and_goes_on_when_it_is_asked_for_again() -> Result<()> {
    let world = World::new().await?;
    let key = key(&world, "erasure")?;
    world.open_campaign("SWEPT", 50).await?;
    world.coupon(&["close", "SWEPT"]).await?.succeeded()?;
    let points = OF_ERASURE.iter().flat_map(|effect| ["before", "after"].map(|moment| format!("{effect}:{moment}")));
    for (index, point) in points.enumerate() {
        let id = format!("swept-member-{index:02}");
        planted(&world, &id).await?;
        let setting = format!("{KEY}={key}");
        let words = ["--set", &setting, "member", "erase", &id, "--reason", "ticket 4711", "--yes", "--by", "olga"];
        let killed = world.run_with("dlq-consumer", &words, &[("COUPON_CRASH_AT", point.as_str())]).await?;
        ensure!(killed.status.contains(ABORTED), "{point}: it never came to the point: {killed:?}");
        // Somebody compares and repairs meanwhile, and may put the holder entry back under the one name or the other.
        world.run("dlq-consumer", &["reconcile", "SWEPT", "--apply", "--wait", "5", "--by", "olga"]).await?;
        let again = erase(&world, &key, &id).await?;
        ensure!(again.code == Some(0), "{point}: {again:?}");
        let left = named(&world, &id).await?;
        ensure!(left.is_empty(), "{point}: {left:?}");
        let [rows, entries] = holders(&world).await?;
        ensure!(rows == entries && rows.len() == index + 1, "{point}: {rows:?} {entries:?}");
    }
    let states = number(&world, "SELECT count(*) FROM member_erasures WHERE status = 'DONE'").await?;
    assert_eq!(states, 2 * i64::try_from(OF_ERASURE.len())?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e_what_makes_no_sense_is_refused_with_a_sentence_and_nothing_is_changed() -> Result<()> {
    let world = World::new().await?;
    let (right, other) = (key(&world, "erasure")?, key(&world, "other")?);
    Entry { member: "alice-0001", status: "RESOLVED", ..Entry::default() }.plant(&world).await?;
    let wanted = ["erase", "alice-0001", "--yes"];
    let with = |reason: &'static str| [&wanted[..], &["--reason", reason]].concat();
    for (key, words, said) in [
        ("", with("ticket 1"), "erasure.key_file"),
        ("/no/such/file", with("ticket 1"), "erasure.key_file"),
        (right.as_str(), with("asked by alice-0001"), "the reason names the member"),
        (right.as_str(), vec!["erase", "bob", "--yes", "--reason", "asked by bob"], "the reason names the member"),
        (
            right.as_str(),
            vec!["erase", "erased-00112233445566778899aabbccddeeff", "--yes", "--reason", "x"],
            "the pseudonym of",
        ),
        (right.as_str(), vec!["erase", "alice-0001", "--reason", "x"], "--yes"),
    ] {
        let refused = member(&world, key, &words).await?;
        assert!(refused.code != Some(0) && refused.stderr.contains(said), "{words:?}: {refused:?}");
    }
    assert_eq!(number(&world, "SELECT count(*) FROM member_erasures").await?, 0);
    // One that was begun with a key is not done with another.
    let setting = format!("{KEY}={right}");
    let words = ["--set", &setting, "member", "erase", "alice-0001", "--reason", "x", "--yes", "--by", "olga"];
    let crash = [("COUPON_CRASH_AT", "begin an erasure:after")];
    assert!(world.run_with("dlq-consumer", &words, &crash).await?.status.contains(ABORTED));
    let dry = member(&world, &right, &["erase", "alice-0001", "--dry-run"]).await?;
    assert!(dry.code == Some(0) && dry.stderr.contains("begun and is not done"), "{dry:?}");
    let refused = member(&world, &other, &with("ticket 1")).await?;
    assert!(refused.code == Some(1) && refused.stderr.contains("two pseudonyms"), "{refused:?}");
    member(&world, &right, &with("ticket 1")).await?.succeeded()?;
    assert!(named(&world, "alice-0001").await?.is_empty());
    Ok(())
}
