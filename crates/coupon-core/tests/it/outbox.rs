//! The outbox: who lists it, who holds its lease, and entries whose time is not to be believed.

use std::time::Duration;

use coupon_core::{
    clock::{Clock, SystemClock},
    ids::{CouponCode, MemberId, RequestId},
    stock::{FillOutcome, GateOutcome, Held, OutboxListing, RepairOutcome, Stock},
};

use crate::servers::{fill_of, forget, redis_url, stock};

const LEASE: Duration = Duration::from_secs(30);
const HOUR_MS: i64 = 3_600_000;

/// An open campaign with one reservation that nobody has published.
async fn one_reserved(code: &str) -> (Stock, CouponCode, MemberId, RequestId) {
    let (stock, code) = (stock(), code.parse::<CouponCode>().unwrap());
    forget(&code).await;
    let fill = fill_of(9);
    assert_eq!(stock.begin_fill(&code, &fill).await.unwrap(), FillOutcome::Filling);
    assert_eq!(stock.open(&code, 1, 9, 0).await.unwrap(), GateOutcome::Done);
    let (member, id) = ("member".parse::<MemberId>().unwrap(), RequestId::make(&SystemClock));
    let reservation = stock.reserve(&code, &member, id, 100).await.unwrap();
    assert!(matches!(reservation, Ok(Held { is_repeat: false, .. })), "{reservation:?}");
    (stock, code, member, id)
}

#[tokio::test]
async fn who_only_counts_takes_no_lease_and_gives_up_its_own_but_no_others() {
    let (stock, code, ..) = one_reserved("OUTBOX-LEASE").await;
    let ask = async |owner: &str, lease| stock.relay(&code, owner, lease, Duration::ZERO, 10).await.unwrap();
    let is_counted = |listing: &OutboxListing| matches!(listing, OutboxListing { due: None, waiting: 1, .. });
    assert!(is_counted(&ask("sick", Duration::ZERO).await));
    assert!(
        matches!(ask("healthy", LEASE).await, OutboxListing { due: Some(_), waiting: 1, .. }),
        "counting took no lease"
    );
    assert!(is_counted(&ask("sick", LEASE).await), "another's lease");
    assert!(
        is_counted(&ask("sick", Duration::ZERO).await) && is_counted(&ask("sick", LEASE).await),
        "it stays another's"
    );
    assert!(is_counted(&ask("healthy", Duration::ZERO).await));
    assert!(matches!(ask("sick", LEASE).await, OutboxListing { due: Some(_), waiting: 1, .. }), "it was given up");
    forget(&code).await;
}

#[tokio::test]
async fn of_many_outboxes_just_those_with_entries_are_named() {
    let (stock, reserved, ..) = one_reserved("OUTBOX-WAITING").await;
    let mut redis = redis::Client::open(redis_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let broken = "OUTBOX-WAITING-BROKEN".parse::<CouponCode>().unwrap();
    let key = format!("coupon:{{{}}}:outbox", broken.as_str());
    let _: () = redis::cmd("SET").arg(&key).arg("no outbox").query_async(&mut redis).await.unwrap();
    let empty = (0..2_500).map(|number| format!("OUTBOX-EMPTY-{number}").parse::<CouponCode>().unwrap());
    let mut all: Vec<CouponCode> = empty.collect();
    let questions = stock.outbox_questions(all.clone());
    assert_eq!(questions.concat(), all);
    for codes in &questions {
        assert!(stock.waiting(codes).await.unwrap().is_empty());
    }
    all.insert(0, broken.clone());
    all.insert(1_777, reserved.clone());
    let mut waiting = Vec::new();
    for codes in stock.outbox_questions(all) {
        waiting.extend(stock.waiting(&codes).await.unwrap());
    }
    assert_eq!(waiting, [broken, reserved.clone()], "a key that is no outbox is not empty either");
    let _: i64 = redis::cmd("DEL").arg(&key).query_async(&mut redis).await.unwrap();
    forget(&reserved).await;
}

#[tokio::test]
async fn an_entry_from_the_future_is_due_now_and_its_age_does_not_hide() {
    let (stock, code, member, id) = one_reserved("OUTBOX-FUTURE").await;
    let mut redis = redis::Client::open(redis_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let outbox = format!("coupon:{{{}}}:outbox", code.as_str());
    let entry = format!("{id}|1|{}", member.as_str());
    let _: f64 = redis::cmd("ZINCRBY").arg(&outbox).arg(HOUR_MS).arg(&entry).query_async(&mut redis).await.unwrap();
    let now = SystemClock.now().timestamp_millis();
    let relay = stock.relay(&code, "a", LEASE, LEASE, 10).await.unwrap();
    let OutboxListing { due: Some(due), oldest, .. } = relay else { panic!("{relay:?}") };
    assert_eq!(due.iter().map(|event| event.request_id).collect::<Vec<_>>(), [id]);
    assert!((due[0].reserved_at - now).abs() < HOUR_MS / 2, "{} is not now", due[0].reserved_at);
    assert!(oldest > Duration::from_mins(50), "{oldest:?}");
    forget(&code).await;
}

#[tokio::test]
async fn a_promise_made_again_by_a_clock_that_is_ahead_is_dated_now() {
    let (stock, code, member, id) = one_reserved("OUTBOX-CLOCK").await;
    let mut redis = redis::Client::open(redis_url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let outbox = format!("coupon:{{{}}}:outbox", code.as_str());
    let _: i64 = redis::cmd("DEL").arg(&outbox).query_async(&mut redis).await.unwrap();
    let now = SystemClock.now().timestamp_millis();
    let mended = stock.requeue(&code, 1, &member, id, now + HOUR_MS).await.unwrap();
    assert_eq!(mended, RepairOutcome::Done);
    let entry = format!("{id}|1|{}", member.as_str());
    let score: f64 = redis::cmd("ZSCORE").arg(&outbox).arg(entry).query_async(&mut redis).await.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a time in ms is far below 2^53")]
    let ahead = score - now as f64;
    assert!(ahead.abs() < 60_000.0, "{ahead} ms ahead");
    forget(&code).await;
}
