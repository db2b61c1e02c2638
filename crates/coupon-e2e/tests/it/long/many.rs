//! O5: many consumers, many partitions, many records, and no rest.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use coupon_e2e::{
    chance,
    kafka::record::{Event, NewRecord},
    process::Process,
    servers::Servers,
    wait::{eventually, pause},
    world::{Setup, World},
};
use futures_util::future::try_join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};

const CONSUMERS: usize = 8;
const PARTITIONS: i32 = 32;
const COUPONS: usize = 10;
const OF_EACH: usize = 10_000;
const RESTARTS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o5_eight_consumers_a_hundred_thousand_records_sixteen_restarts_each_every_row_once() -> Result<()> {
    let mut chance = chance::seeded("o5");
    let world = World::with(Setup { partitions: PARTITIONS, ..Setup::on(&Servers::from_env()?) }).await?;
    let reserved = reserve(&world).await?;
    let started = Instant::now();
    let lives = (0..CONSUMERS).map(|_| restless(&world, StdRng::from_rng(&mut chance)));
    let consumers: Vec<Process> = try_join_all(lives).await?;
    println!("o5: {} restarts within {:?}", CONSUMERS * RESTARTS, started.elapsed());
    let total = i64::try_from(COUPONS * OF_EACH)?;
    eventually("every record is written", Duration::from_mins(5), async || -> Result<bool> {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM coupon_issues").fetch_one(&world.db).await?;
        if rows == total { Ok(true) } else { anyhow::bail!("{rows} are") }
    })
    .await?;
    println!("o5: {total} rows within {:?}", started.elapsed());
    let written: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT request_id FROM coupon_issues WHERE decision = 'ISSUED'")
        .fetch_all(&world.db)
        .await?;
    ensure!(written.into_iter().collect::<BTreeSet<_>>() == reserved, "other rows than reservations");
    assert!(world.dlq.read().await?.is_empty());
    let verdict = world.quiet(Duration::from_mins(1), &[]).await?;
    println!("o5: {verdict}");
    drop(consumers);
    Ok(())
}

/// Campaigns, holders and events, as the first stage leaves them.
async fn reserve(world: &World) -> Result<BTreeSet<uuid::Uuid>> {
    let (mut records, mut reserved) = (Vec::new(), BTreeSet::new());
    for coupon in 0..COUPONS {
        let code = format!("MANY-{coupon}");
        world.open_campaign(&code, u64::try_from(OF_EACH)?).await?;
        let mut holders = Vec::with_capacity(OF_EACH);
        for number in 0..OF_EACH {
            let event = Event::of(&code, &format!("member-{coupon}-{number}"), i64::try_from(number)? + 1);
            holders.push((event.member_id.clone(), event.request_id));
            reserved.insert(event.request_id);
            records.push(NewRecord::event(&event));
        }
        world.stock.set_holders(&code, &holders).await?;
        world.stock.set_meta(&code, &[("seq", &OF_EACH.to_string())]).await?;
    }
    world.topic.write_many(&records).await?;
    Ok(reserved)
}

/// A consumer that is stopped softly or killed, again and again, and started again at once.
async fn restless(world: &World, mut chance: StdRng) -> Result<Process> {
    let mut consumer = world.start_issue_consumer().without_waiting().await?;
    for _ in 0..RESTARTS {
        pause(Duration::from_millis(chance.random_range(200..3000))).await;
        if chance.random_bool(0.5) {
            consumer.kill();
        } else {
            let status = consumer.terminate(Duration::from_secs(30)).await?;
            // Stopped before it listens for signals, it ends by the signal; and somebody may have taken its port.
            let is_well = status.success() || status.code().is_none() || consumer.log_contains("in use");
            ensure!(is_well, "{status}");
        }
        consumer = world.start_issue_consumer().without_waiting().await?;
    }
    Ok(consumer)
}
