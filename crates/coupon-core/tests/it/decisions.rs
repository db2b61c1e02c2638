//! The numbers of decisions on a real PostgreSQL: no gap and no double, whatever decides.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    budget::Budget,
    event::CouponIssued,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::{
        coupon_issues::{Compensation, CompensationOutcome, Decision, Remedy, WHOLE_BATCH},
        retention::{Bound, Purgeable},
    },
};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    ledger::{BUDGET, compensation, event, shared},
    servers::{OwnDatabase, campaign, wait_for_locks},
};

/// Asserts that each decision of each campaign has exactly one number, from 1 without gaps, and that batches tell the truth about
/// what they hold. Returns the number of decisions.
pub async fn assert_numbered(url: &str) -> i64 {
    let mut raw = PgConnection::connect(url).await.unwrap();
    let wrong: Vec<(String, i64, i64, i64, i64, i64)> = sqlx::query_as(
        "WITH numbered AS (
             SELECT b.coupon_id, b.first_no + r.place - 1 AS number, r.id, b.decision, b.epoch, b.decided_at
             FROM coupon_decision_batches b CROSS JOIN LATERAL UNNEST(b.request_ids) WITH ORDINALITY AS r (id, place))
         SELECT c.coupon_code, c.decision_no,
                (SELECT count(*) FROM coupon_issues i WHERE i.coupon_id = c.coupon_id),
                (SELECT count(DISTINCT number) FROM numbered n WHERE n.coupon_id = c.coupon_id AND number BETWEEN 1 AND c.decision_no),
                (SELECT count(*) FROM numbered n WHERE n.coupon_id = c.coupon_id),
                (SELECT count(DISTINCT i.request_id) FROM numbered n JOIN coupon_issues i
                     ON i.coupon_id = n.coupon_id AND i.request_id = n.id AND i.decision = n.decision AND i.epoch = n.epoch
                        AND i.decided_at <= n.decided_at
                 WHERE n.coupon_id = c.coupon_id)
         FROM coupons c",
    )
    .fetch_all(&mut raw)
    .await
    .unwrap();
    for (code, last, decisions, distinct, numbered, true_ones) in &wrong {
        let each = [distinct, numbered, true_ones, decisions];
        assert_eq!(each, [last; 4], "{code}: numbers, numbered, numbered truly and decisions are not {last} each");
    }
    wrong.iter().map(|row| row.2).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_decide_numbers_what_it_decides() {
    let own = OwnDatabase::create("numbers").await;
    let (database, url) = own.parts();
    let code: CouponCode = "NUMBERS".parse().unwrap();
    campaign(&database, &code, 8).await;
    let mut decided = 0;
    let mut offset = 0;
    let mut expect = async |what: &str, more: i64| {
        decided += more;
        assert_eq!(assert_numbered(&url).await, decided, "{what}");
    };
    let events =
        |members: &[&str]| -> Vec<CouponIssued> { members.iter().map(|member| event(&code, member)).collect() };
    let issue = async |events: &[CouponIssued], part: i32| {
        database.coupon_issues().issue(shared(events), part, None).await.unwrap();
    };
    let mut compensate = async |event: &CouponIssued, change: &dyn Fn(&mut Compensation)| {
        offset += 1;
        let mut compensation = compensation(event, offset, BUDGET);
        change(&mut compensation);
        database.coupon_issues().compensate(compensation).await.unwrap()
    };

    let first = events(&["a", "b"]);
    issue(&first, WHOLE_BATCH).await;
    expect("a batch", 2).await;
    issue(&first, WHOLE_BATCH).await;
    expect("a batch once more", 0).await;
    let more = [first[0].clone(), event(&code, "c"), event(&code, "d")];
    issue(&more, WHOLE_BATCH).await;
    expect("a batch of which some are there", 2).await;
    issue(&events(&["e", "f"]), 1).await;
    expect("parts", 2).await;
    issue(&events(&["x", "y", "z"]), WHOLE_BATCH).await;
    expect("what fits", 2).await;

    let given_up = event(&code, "g");
    assert!(matches!(compensate(&given_up, &|_| {}).await, CompensationOutcome::Compensated { .. }));
    expect("a compensation", 1).await;
    assert_eq!(compensate(&given_up, &|_| {}).await, CompensationOutcome::CompensatedBefore);
    assert_eq!(compensate(&first[0], &|_| {}).await, CompensationOutcome::Issued);
    expect("what was decided before", 0).await;
    let none_left = |compensation: &mut Compensation| {
        compensation.budget = Some(Budget { burst: 0.0, per_second: 0.0 });
        compensation.failure = Failure::new(Class::Unknown, "P0002", "another cause");
    };
    assert_eq!(compensate(&event(&code, "h"), &none_left).await, CompensationOutcome::Held);
    expect("what is held", 0).await;
    let superseded = |compensation: &mut Compensation| compensation.remedy = Remedy::Supersede(first[0].request_id);
    compensate(&event(&code, "a"), &superseded).await;
    expect("a request whose member holds one", 1).await;
    let suspected = |compensation: &mut Compensation| compensation.remedy = Remedy::GiveBackAndSuspect;
    compensate(&event(&code, "i"), &suspected).await;
    expect("a request above the total", 1).await;

    let numbers = database.coupon_decision_batches().numbers(&code).await.unwrap().unwrap();
    let page = database.coupon_decision_batches().page(numbers.coupon_id, 2, 10).await.unwrap();
    assert_eq!(page.missing, None);
    let read: Vec<i64> = page.decisions.iter().map(|decision| decision.number).collect();
    assert_eq!(read, (2..=10).collect::<Vec<i64>>(), "in the order of the numbers, also from the middle of a batch");
    assert_eq!(
        (page.decisions[7].decision, page.decisions[7].request_id),
        (Decision::Compensated, given_up.request_id.as_uuid())
    );
    let beyond = database.coupon_decision_batches().page(numbers.coupon_id, 11, 20).await.unwrap();
    assert_eq!((beyond.decisions.len(), beyond.missing), (1, Some(12)));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_and_compensations_at_once_leave_no_gap_between_their_numbers() {
    let own = OwnDatabase::create("numbers_at_once").await;
    let (database, url) = own.parts();
    let code: CouponCode = "ATONCE".parse().unwrap();
    campaign(&database, &code, 10_000).await;
    let mut deciders = tokio::task::JoinSet::new();
    for writer in 0..6 {
        let (database, code) = (database.clone(), code.clone());
        deciders.spawn(async move {
            for round in 0..30 {
                let events: Vec<CouponIssued> =
                    (0..7).map(|n| event(&code, &format!("m{writer}-{round}-{n}"))).collect();
                database.coupon_issues().issue(shared(&events), WHOLE_BATCH, None).await.unwrap();
            }
        });
    }
    for sweeper in 0..2 {
        let (database, code) = (database.clone(), code.clone());
        deciders.spawn(async move {
            for round in 0..40 {
                let event = event(&code, &format!("c{sweeper}-{round}"));
                database
                    .coupon_issues()
                    .compensate(compensation(&event, sweeper * 1000 + round, BUDGET))
                    .await
                    .unwrap();
            }
        });
    }
    // A reader that follows the numbers never meets a hole below the last one.
    let reader = async {
        let mut next = 1;
        while next <= 6 * 30 * 7 + 2 * 40 {
            let numbers = database.coupon_decision_batches().numbers(&code).await.unwrap().unwrap();
            let page = database.coupon_decision_batches().page(numbers.coupon_id, next, numbers.last).await.unwrap();
            assert_eq!(page.missing, None, "up to {}", numbers.last);
            next = numbers.last + 1;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), reader).await.unwrap();
    deciders.join_all().await;
    assert_eq!(assert_numbered(&url).await, 6 * 30 * 7 + 2 * 40);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_older_builds_decided_is_numbered_later_and_only_once() {
    let own = OwnDatabase::create("numbers_later").await;
    let (database, url) = own.parts();
    let code: CouponCode = "LATER".parse().unwrap();
    campaign(&database, &code, 10_000).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    database.coupon_issues().issue(shared(&[event(&code, "numbered")]), WHOLE_BATCH, None).await.unwrap();
    // As the statement of the build before does it: it knows no numbers.
    raw.execute(
        "WITH issued AS (
             INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
             SELECT coupon_id, gen_random_uuid(), 'old' || n, 'ISSUED', 1, n, now(), now() FROM coupons, generate_series(1, 1200) AS n
             RETURNING 1)
         UPDATE coupons SET issued_quantity = issued_quantity + (SELECT count(*) FROM issued)",
    )
    .await
    .unwrap();
    let batches = database.coupon_decision_batches();
    let count = batches.count(&code).await.unwrap().unwrap();
    assert_eq!((count.last, count.decisions), (1, 1201));
    let both = tokio::join!(batches.number_some(&code), batches.number_some(&code));
    let numbered = [both.0.unwrap(), both.1.unwrap()];
    assert_eq!(numbered.iter().sum::<usize>(), 1200, "whoever comes second numbers nothing: {numbered:?}");
    assert_eq!(assert_numbered(&url).await, 1201);
    assert_eq!(batches.number_some(&code).await.unwrap(), 0);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_batches_behind_the_mark_of_a_time_that_is_numbered_are_purged() {
    let own = OwnDatabase::create("numbers_purged").await;
    let (database, url) = own.parts();
    let code: CouponCode = "PURGED".parse().unwrap();
    campaign(&database, &code, 10_000).await;
    for member in ["a", "b", "c"] {
        database.coupon_issues().issue(shared(&[event(&code, member)]), WHOLE_BATCH, None).await.unwrap();
    }
    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("UPDATE coupon_decision_batches SET decided_at = decided_at - interval '40 days'").await.unwrap();
    raw.execute("UPDATE coupon_issues SET decided_at = decided_at - interval '40 days'").await.unwrap();
    let (batches, now) = (database.coupon_decision_batches(), chrono::Utc::now());
    let purgeable = async || {
        let before = now - chrono::TimeDelta::days(30);
        let bound = Bound { before, unpublished: false };
        database.retention().count_purgeable(Purgeable::DecisionBatches, bound, None, 100).await.unwrap().rows
    };
    let id = batches.numbers(&code).await.unwrap().unwrap().coupon_id;
    assert_eq!(batches.lease(id, "me".to_owned(), Duration::from_mins(1)).await.unwrap(), Some(0));
    assert!(batches.move_mark(id, "me".to_owned(), (0, 2), Duration::from_mins(1)).await.unwrap());
    assert_eq!(purgeable().await, 0, "nobody has said that every decision of then is numbered");
    batches.note_complete(&code, now).await.unwrap();
    assert_eq!(purgeable().await, 2, "the third is not published");
    let lost = batches.move_mark(id, "me".to_owned(), (0, 3), Duration::from_mins(1)).await.unwrap();
    assert!(!lost, "a mark moves from where it stands");
    let other = batches.lease(id, "other".to_owned(), Duration::from_mins(1)).await.unwrap();
    assert_eq!(other, None, "one lease a campaign");
    batches.release_leases("me".to_owned()).await.unwrap();
    let other = batches.lease(id, "other".to_owned(), Duration::from_mins(1)).await.unwrap();
    assert_eq!(other, Some(2));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_waits_for_the_lock_of_the_row() {
    let own = OwnDatabase::create("numbers_locked").await;
    let (database, url) = own.parts();
    let code: CouponCode = "WAITS".parse().unwrap();
    campaign(&database, &code, 10).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut tx = raw.begin().await.unwrap();
    tx.execute("UPDATE coupons SET decision_no = decision_no + 5").await.unwrap();
    let behind = {
        let (database, batch) = (database.clone(), [event(&code, "late")]);
        tokio::spawn(async move { database.coupon_issues().issue(shared(&batch), WHOLE_BATCH, None).await })
    };
    let event = Arc::new(event(&code, "later"));
    let compensated = {
        let (database, event) = (database.clone(), Arc::clone(&event));
        tokio::spawn(async move { database.coupon_issues().compensate(compensation(&event, 1, BUDGET)).await })
    };
    wait_for_locks(&url, 2, 0.0).await;
    tx.commit().await.unwrap();
    behind.await.unwrap().unwrap();
    compensated.await.unwrap().unwrap();
    let mut numbers: Vec<i64> =
        sqlx::query_scalar("SELECT first_no FROM coupon_decision_batches").fetch_all(&mut raw).await.unwrap();
    numbers.sort_unstable();
    assert_eq!(numbers, [6, 7], "a number read before the lock would be the one of somebody else");
    own.drop().await;
}
