//! Tests of the harness, on which the other tests rely.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coupon_e2e::{
    failures::FailMode, kafka::record::NewRecord, proxy::Proxy, stock::Stock, wait::eventually, world::World,
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::SOON;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_world_leaves_nothing_behind() -> Result<()> {
    let world = World::new().await?;
    let (topic, database_url) = (world.topic.clone(), world.database_url.clone());
    world.stock.set_meta("LEFT", &[("status", "OPEN")]).await?;
    let stock = Stock::connect(&world.redis_url).await?;
    drop(world);
    assert!(topic.read().await.is_err(), "the topic is still there");
    assert!(PgPool::connect(&database_url).await.is_err(), "the database is still there");
    assert_eq!(stock.keys().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_gives_back_the_bytes_it_was_given() -> Result<()> {
    let world = World::new().await?;
    let odd = NewRecord {
        key: None,
        value: Some(vec![0, 255, 254]),
        headers: vec![("a".to_owned(), None), ("b".to_owned(), Some(vec![255])), ("a".to_owned(), Some(vec![]))],
        timestamp_ms: Some(1_700_000_000_123),
        partition: Some(3),
    };
    let (partition, offset) = world.topic.write(&odd).await?;
    world.topic.write(&NewRecord { key: Some(b"k".to_vec()), ..NewRecord::default() }).await?;
    let records = world.topic.read().await?;
    let found = records.iter().find(|record| record.partition == 3 && record.key.is_none()).context("the record")?;
    assert_eq!((partition, offset), (3, 0));
    assert_eq!((&found.value, &found.headers, found.timestamp_ms), (&odd.value, &odd.headers, odd.timestamp_ms));
    assert!(records.iter().any(|record| record.key.as_deref() == Some(b"k") && record.value.is_none()), "a tombstone");
    world.topic.commit("it-group", 3, 1).await?;
    assert_eq!(world.topic.committed("it-group").await?, [(3, 1)].into());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_can_be_cut_stalled_delayed_and_restored() -> Result<()> {
    let world = World::new().await?;
    let proxy = Proxy::before(&world.redis_url).await?;
    let answers = async || Stock::connect(proxy.url()).await?.keys().await;
    let soon = Duration::from_millis(500);
    let held = Stock::connect(proxy.url()).await?;
    assert_eq!(answers().await?, 0);
    proxy.stall().await?;
    assert!(tokio::time::timeout(soon, held.keys()).await.is_err(), "a stalled proxy answers");
    proxy.cut().await?;
    assert!(tokio::time::timeout(soon, answers()).await?.is_err(), "a cut proxy accepts");
    proxy.restore().await?;
    assert_eq!(answers().await?, 0);
    proxy.delay(Duration::from_millis(50)).await?;
    let started = Instant::now();
    answers().await?;
    assert!(started.elapsed() >= Duration::from_millis(100), "a request and an answer are delayed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forced_failures_strike_as_their_rules_say() -> Result<()> {
    let world = World::new().await?;
    let coupon: i64 = sqlx::query_scalar(
        "INSERT INTO coupons (coupon_code, total_quantity, opens_at) VALUES ('C', 9, now()) RETURNING coupon_id",
    )
    .fetch_one(&world.db)
    .await?;
    let write = async |member: &str| -> Result<()> {
        sqlx::query(
            "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
             VALUES ($1, $2, $3, 'ISSUED', 1, 1, now(), now())",
        )
        .bind(coupon)
        .bind(Uuid::now_v7())
        .bind(member)
        .execute(&world.db)
        .await?;
        Ok(())
    };
    let sqlstate =
        |error: anyhow::Error| error.downcast::<sqlx::Error>().ok()?.as_database_error()?.code().map(String::from);
    let always = world.fail_member("C", "always", FailMode::Always).await?;
    let for_long = world.fail_member("C", "later", FailMode::For(Duration::from_millis(200))).await?;
    world.fail_member("C", "twice", FailMode::Times(2)).await?;
    world.fail_member("C", "never", FailMode::Permanently).await?;
    for _ in 0..3 {
        assert_eq!(write("always").await.map_err(sqlstate), Err(Some("P0001".to_owned())));
    }
    assert_eq!(write("never").await.map_err(sqlstate), Err(Some("23514".to_owned())));
    assert!(write("twice").await.is_err() && write("twice").await.is_err());
    write("twice").await?;
    assert!(write("later").await.is_err());
    eventually("the failure heals", SOON, async || write("later").await.is_ok()).await?;
    write("somebody").await?;
    let executions = always.executions().await?;
    assert_eq!(executions.len(), 3);
    assert!(executions.is_sorted());
    assert!(for_long.executions().await?.len() >= 2);
    always.lift().await?;
    write("always").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_is_copied_side_by_side() -> Result<()> {
    let (one, two) = tokio::try_join!(World::new(), World::new())?;
    assert_ne!(one.database_url, two.database_url);
    assert_ne!(one.redis_url, two.redis_url);
    for world in [&one, &two] {
        let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM coupons").fetch_one(&world.db).await?;
        assert_eq!(tables, 0);
    }
    Ok(())
}
