//! C7: planted corruption of each kind is found, exactly that, and what can be put right by a machine is.

use std::collections::BTreeMap;

use anyhow::Result;
use coupon_e2e::{oracle::Kind, world::World};
use uuid::Uuid;

use crate::reconcile::{Drift, drift, reconcile};

/// Each campaign, and what is planted in it.
const PLANTED: &[(&str, &str)] = &[
    ("ORPHAN", "ORPHAN"),
    ("COMPENSATED", "COMPENSATED_MARK"),
    ("REPLACED", "COMPENSATED_MARK"),
    ("MISSING", "MISSING_MARK"),
    ("FOREIGN", "FOREIGN_MARK"),
    ("UNREADABLE", "UNREADABLE_MARK"),
    ("COUNTER", "WRONG_COUNTER"),
    ("TOTALS", "TOTALS_DIFFER"),
    ("WINDOW", "WINDOW_DIFFERS"),
    ("GATE", "GATE_DIFFERS"),
    ("LOST", "DATA_LOST"),
    ("ENTRY", "UNREADABLE_ENTRY"),
    ("BACK", "DATA_LOST"),
    ("OLDER", "DATA_LOST"),
];

/// Campaigns whose drift `reconcile --apply` leaves to a person.
const LEFT: &[&str] = &["FOREIGN", "UNREADABLE", "LOST", "BACK", "OLDER", "OVERSOLD", "NOBODYS"];

/// An issued coupon, as the pipeline would have left it.
async fn issued(world: &World, code: &str, member: &str) -> Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query(
        "WITH row AS (
             INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
             SELECT coupon_id, $2, $3, 'ISSUED', epoch, 1, now(), now() FROM coupons WHERE coupon_code = $1)
         UPDATE coupons SET issued_quantity = issued_quantity + 1 WHERE coupon_code = $1",
    )
    .bind(code)
    .bind(id)
    .bind(member)
    .execute(&world.db)
    .await?;
    world.stock.set_holder(code, member, Some(id)).await?;
    Ok(id)
}

/// Inserts a compensated request whose coupon was given back; returns its request id.
async fn compensated(world: &World, code: &str, member: &str) -> Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query(
        "WITH row AS (
             INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, given_back_at)
             SELECT coupon_id, $2, $3, 'COMPENSATED', epoch, 1, now(), now() FROM coupons WHERE coupon_code = $1)
         INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason)
         VALUES ($1, $3, $2, 'PENDING', 'UNKNOWN', 'P0001', 'planted')",
    )
    .bind(code)
    .bind(id)
    .bind(member)
    .execute(&world.db)
    .await?;
    Ok(id)
}

async fn sql(world: &World, statement: &'static str) -> Result<()> {
    sqlx::raw_sql(statement).execute(&world.db).await?;
    Ok(())
}

async fn plant(world: &World) -> Result<()> {
    for (code, _) in PLANTED.iter().copied().chain([("HEALTHY", ""), ("OVERSOLD", "")]) {
        world.open_campaign(code, 10).await?;
        // As the reservations would have left it.
        world.stock.set_meta(code, &[("seq", "3")]).await?;
        issued(world, code, "first").await?;
        issued(world, code, "second").await?;
        compensated(world, code, "never").await?;
    }
    let stock = &world.stock;
    stock.set_holder("ORPHAN", "third", Some(Uuid::now_v7())).await?;
    let given_up = compensated(world, "COMPENSATED", "third").await?;
    stock.set_holder("COMPENSATED", "third", Some(given_up)).await?;
    // The member has a coupon by another request, and the holder entry names the compensated one.
    let given_up = compensated(world, "REPLACED", "first").await?;
    stock.set_holder("REPLACED", "first", Some(given_up)).await?;
    stock.set_holder("MISSING", "second", None).await?;
    let firsts = stock.of("FOREIGN").await?.holder_of("first");
    stock.set_holder("FOREIGN", "third", firsts).await?;
    let mut redis = stock.redis();
    let _: () = redis::cmd("HSET")
        .arg(coupon_e2e::stock::key("UNREADABLE", "issued"))
        .arg("third")
        .arg("\u{1b}[31mrubbish")
        .query_async(&mut redis)
        .await?;
    sql(world, "UPDATE coupons SET issued_quantity = 5 WHERE coupon_code = 'COUNTER'").await?;
    stock.set_meta("TOTALS", &[("total", "7")]).await?;
    // Killed between the row and Redis.
    sql(
        world,
        "UPDATE coupons SET closes_at = '2100-01-01T00:00:00Z', window_version = window_version + 1
         WHERE coupon_code = 'WINDOW'",
    )
    .await?;
    stock.set_outbox("ENTRY", "rubbish").await?;
    sql(world, "UPDATE coupons SET status = 'CLOSED' WHERE coupon_code = 'GATE'").await?;
    let _: () = redis::cmd("DEL").arg(coupon_e2e::stock::key("LOST", "meta")).query_async(&mut redis).await?;
    sql(world, "UPDATE coupons SET high_seq = 9 WHERE coupon_code = 'BACK'").await?;
    sql(world, "UPDATE coupons SET epoch = 2 WHERE coupon_code = 'OLDER'").await?;
    // Two rows, a total of one: the counter has to be wrong too, or PostgreSQL would not have it.
    sql(world, "UPDATE coupons SET issued_quantity = 1, total_quantity = 1 WHERE coupon_code = 'OVERSOLD'").await?;
    stock.set_meta("OVERSOLD", &[("total", "1")]).await?;
    stock.set_meta("NOBODYS", &[("status", "OPEN"), ("total", "1")]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_planted_corruption_of_each_kind_is_found_and_exactly_that() -> Result<()> {
    let world = World::new().await?;
    plant(&world).await?;
    let mut expected: Drift =
        PLANTED.iter().map(|(code, kind)| ((*code).to_owned(), BTreeMap::from([((*kind).to_owned(), 1)]))).collect();
    let both = [("OVERSOLD".to_owned(), 1), ("WRONG_COUNTER".to_owned(), 1)];
    expected.insert("OVERSOLD".to_owned(), BTreeMap::from(both));
    expected.insert("NOBODYS".to_owned(), BTreeMap::from([("UNKNOWN_COUPON".to_owned(), 1)]));

    let dry = reconcile(&world, &[]).await?;
    assert_eq!((dry.code, drift(&dry)?), (Some(3), expected.clone()), "{}", dry.stderr);
    let again = reconcile(&world, &[]).await?;
    assert_eq!(drift(&again)?, expected, "a dry run changes nothing");
    let table = world.run("dlq-consumer", &["reconcile", "UNREADABLE"]).await?;
    assert!(!table.stdout.contains('\u{1b}') && table.stdout.contains("\\u{1b}"), "{}", table.stdout);

    let applied = reconcile(&world, &["--apply"]).await?;
    assert_eq!((applied.code, drift(&applied)?), (Some(3), expected.clone()), "{}", applied.stderr);
    let window = world.stock.of("WINDOW").await?;
    assert_eq!((window.number("closes_at"), window.number("window_version")), (Some(4_102_444_800_000), Some(1)));
    let services = crate::Services::start(&world).await?;
    crate::issued_rows(&world, "ORPHAN", 3, crate::SOON).await?;
    let left = reconcile(&world, &[]).await?;
    let expected: Drift = expected.into_iter().filter(|(code, _)| LEFT.contains(&code.as_str())).collect();
    assert_eq!((left.code, drift(&left)?), (Some(3), expected), "{}", left.stderr);

    // What is lost sells nothing.
    for code in ["LOST", "BACK", "OLDER"] {
        let status: String = sqlx::query_scalar("SELECT status FROM coupons WHERE coupon_code = $1")
            .bind(code)
            .fetch_one(&world.db)
            .await?;
        assert_eq!(status, "SUSPECT", "{code}");
        assert_eq!(world.member(&services.api, "fourth")?.ask(code).await.status, Some(503), "{code}");
    }
    let kinds = world.verdict().await?.kinds();
    for kind in [Kind::CounterWrong, Kind::HolderWithoutRow, Kind::Oversold] {
        assert!(kinds.contains(&kind), "what is left is seen by the oracle too: {kinds:?}");
    }
    Ok(())
}
