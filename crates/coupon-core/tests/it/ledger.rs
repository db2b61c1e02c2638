//! `coupon_issues` on a real PostgreSQL: one decision on each request, whoever decides first.

mod budget;

use std::sync::Arc;

use coupon_core::{
    budget::Budget,
    event::CouponIssued,
    failure::{Class, Failure},
    ids::{CouponCode, RequestId},
    repo::{
        Database,
        coupon_issues::{Compensation, CompensationOutcome, Decision, IssueOutcome, Remedy, WHOLE_BATCH, Written},
        dlq_events::NewDlqEvent,
    },
};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::{
    decisions::assert_numbered,
    servers::{OwnDatabase, campaign},
};

pub const BUDGET: Budget = Budget { burst: 1e6, per_second: 1.0 };

#[tokio::test(flavor = "multi_thread")]
async fn r8_issue_and_compensation_of_one_request_at_once_a_thousand_times_one_decision_each() {
    const ROUNDS: i64 = 1000;
    let own = OwnDatabase::create("r8").await;
    let (database, url) = own.parts();
    let code: CouponCode = "R8".parse().unwrap();
    campaign(&database, &code, ROUNDS).await;
    let (mut issued, mut compensated) = (0, 0);
    for round in 0..ROUNDS {
        let event = event(&code, &format!("m{round}"));
        let batch = [event.clone()];
        let (left, right) = (database.clone(), database.clone());
        let compensation = compensation(&event, round, BUDGET);
        // Each goes first every other time, so that both orders and everything between them happen.
        let issue = async move { retried(|| left.coupon_issues().issue(shared(&batch), WHOLE_BATCH, None)).await };
        let compensate = async move { retried(|| right.coupon_issues().compensate(compensation.clone())).await };
        let (written, compensation) = if round % 2 == 0 {
            let issue = tokio::spawn(issue);
            let compensation = compensate.await;
            (issue.await.unwrap(), compensation)
        } else {
            let compensate = tokio::spawn(compensate);
            (issue.await, compensate.await.unwrap())
        };
        match decisions(&database, &event).await[..] {
            [Decision::Issued] => {
                let outcomes = (outcome_of(&written, 0), compensation);
                assert_eq!(outcomes, (IssueOutcome::IssuedNow, CompensationOutcome::Issued));
                issued += 1;
            }
            [Decision::Compensated] => {
                assert_eq!(outcome_of(&written, 0), IssueOutcome::CompensatedBefore);
                assert!(matches!(compensation, CompensationOutcome::Compensated { .. }));
                compensated += 1;
            }
            ref other => panic!("one request has the decisions {other:?}"),
        }
    }
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let counted: i64 = sqlx::query_scalar("SELECT issued_quantity FROM coupons").fetch_one(&mut raw).await.unwrap();
    let failed: i64 =
        sqlx::query_scalar("SELECT count(*) FROM failed_coupon_issues").fetch_one(&mut raw).await.unwrap();
    assert_eq!((counted, failed), (issued, compensated));
    assert_eq!(assert_numbered(&url).await, ROUNDS, "and each has its number");
    assert!(issued > 0 && compensated > 0, "a race that one side always wins shows nothing: {issued}, {compensated}");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_that_claims_to_be_of_the_future_is_valid_from_now_on_however_it_is_written() {
    let own = OwnDatabase::create("future").await;
    let (database, url) = own.parts();
    let code: CouponCode = "FUTURE".parse().unwrap();
    campaign(&database, &code, 3).await;
    let of_2100 = |member: &str| CouponIssued { reserved_at: 4_102_444_800_000, ..event(&code, member) };
    // As a whole batch, by parts, and what fits under the cap.
    for (members, part) in [(vec!["a"], WHOLE_BATCH), (vec!["b"], 1), (vec!["c", "d"], WHOLE_BATCH)] {
        let events: Vec<CouponIssued> = members.into_iter().map(of_2100).collect();
        database.coupon_issues().issue(shared(&events), part, None).await.unwrap();
    }
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let rows: (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE reserved_at > now() OR expires_at > now() + make_interval(days => valid_days))
         FROM coupon_issues JOIN coupons USING (coupon_id)",
    )
    .fetch_one(&mut raw)
    .await
    .unwrap();
    assert_eq!(rows, (3, 0), "rows, and those of the future");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_batches_write_each_event_once_and_the_counter_is_their_number() {
    let own = OwnDatabase::create("overlap").await;
    let (database, url) = own.parts();
    let code: CouponCode = "OVERLAP".parse().unwrap();
    campaign(&database, &code, 10_000).await;
    let events: Vec<CouponIssued> = (0..400).map(|n| event(&code, &format!("m{n}"))).collect();
    let mut writers = JoinSet::new();
    for shift in 0..8 {
        let database = database.clone();
        // Every writer has the same events in another order.
        let mut mine = events.clone();
        mine.rotate_left(shift * 50);
        writers.spawn(async move {
            let mut now = 0;
            for batch in mine.chunks(100) {
                let written = retried(|| database.coupon_issues().issue(shared(batch), WHOLE_BATCH, None)).await;
                let outcomes: Vec<IssueOutcome> = (0..batch.len()).map(|place| outcome_of(&written, place)).collect();
                now += outcomes.iter().filter(|outcome| **outcome == IssueOutcome::IssuedNow).count();
                assert!(
                    outcomes
                        .iter()
                        .all(|outcome| matches!(outcome, IssueOutcome::IssuedNow | IssueOutcome::IssuedBefore))
                );
            }
            now
        });
    }
    assert_eq!(writers.join_all().await.iter().sum::<usize>(), 400, "each event is issued by exactly one writer");
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let counted: (i64, i64) =
        sqlx::query_as("SELECT issued_quantity, (SELECT count(*) FROM coupon_issues) FROM coupons")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    assert_eq!(counted, (400, 400));
    assert_eq!(assert_numbered(&url).await, 400);
    own.drop().await;
}

#[tokio::test]
async fn every_outcome_is_told_apart() {
    let own = OwnDatabase::create("outcomes").await;
    let (database, url) = own.parts();
    let code: CouponCode = "OUT".parse().unwrap();
    campaign(&database, &code, 3).await;
    let first = event(&code, "a");
    assert_eq!(issue(&database, &first).await, IssueOutcome::IssuedNow);
    assert_eq!(issue(&database, &first).await, IssueOutcome::IssuedBefore);
    assert_eq!(issue(&database, &event(&code, "a")).await, IssueOutcome::MemberHoldsOne(first.request_id));
    let stolen = CouponIssued { member_id: "thief".parse().unwrap(), ..first.clone() };
    assert_eq!(issue(&database, &stolen).await, IssueOutcome::OtherMember);
    let failed = event(&code, "b");
    assert!(matches!(
        database.coupon_issues().compensate(compensation(&failed, 1, BUDGET)).await.unwrap(),
        CompensationOutcome::Compensated { .. }
    ));
    assert_eq!(issue(&database, &failed).await, IssueOutcome::CompensatedBefore);
    assert_eq!(
        database.coupon_issues().compensate(compensation(&failed, 2, BUDGET)).await.unwrap(),
        CompensationOutcome::CompensatedBefore
    );
    assert_eq!(
        database.coupon_issues().compensate(compensation(&first, 3, BUDGET)).await.unwrap(),
        CompensationOutcome::Issued
    );
    let unknown = CouponIssued { coupon_code: "NOBODY".parse().unwrap(), ..event(&code, "c") };
    assert_eq!(issue(&database, &unknown).await, IssueOutcome::CouponUnknown);
    assert_eq!(
        database.coupon_issues().compensate(compensation(&unknown, 4, BUDGET)).await.unwrap(),
        CompensationOutcome::Parked
    );
    assert_eq!(issue(&database, &CouponIssued { epoch: 2, ..event(&code, "d") }).await, IssueOutcome::NewerEpoch);

    // Two are left, three ask in one batch: what fits is issued, the rest is refused.
    let batch: Vec<CouponIssued> = ["x", "y", "z"].iter().map(|member| event(&code, member)).collect();
    let written = database.coupon_issues().issue(shared(&batch), WHOLE_BATCH, None).await.unwrap();
    let outcomes: Vec<IssueOutcome> = (0..batch.len()).map(|place| outcome_of(&written, place)).collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == IssueOutcome::CapReached).count(), 1, "{outcomes:?}");
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let (counted, high_seq): (i64, i64) =
        sqlx::query_as("SELECT issued_quantity, high_seq FROM coupons").fetch_one(&mut raw).await.unwrap();
    assert_eq!((counted, high_seq), (3, 7), "the highest sequence of what was issued is kept");

    sqlx::query("UPDATE coupons SET epoch = 2, total_quantity = 9").execute(&mut raw).await.unwrap();
    assert_eq!(issue(&database, &event(&code, "late")).await, IssueOutcome::OldEpoch);
    assert_eq!(issue(&database, &first).await, IssueOutcome::IssuedBefore, "a decision counts before an epoch");
    own.drop().await;
}

#[tokio::test]
async fn a_locked_coupon_row_is_no_verdict() {
    let own = OwnDatabase::create("locked").await;
    let (database, url) = own.parts();
    let code: CouponCode = "LOCKED".parse().unwrap();
    campaign(&database, &code, 9).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut tx = raw.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM coupons FOR UPDATE").execute(&mut *tx).await.unwrap();
    let event = event(&code, "m");
    let error = database.coupon_issues().compensate(compensation(&event, 1, BUDGET)).await.unwrap_err();
    assert_eq!(Failure::from(&error).class, Class::Contended);
    tx.rollback().await.unwrap();
    assert_eq!(decisions(&database, &event).await, []);
    own.drop().await;
}

/// Returns the decision on an event's request, in a list that is empty while there is none.
async fn decisions(database: &Database, event: &CouponIssued) -> Vec<Decision> {
    let (code, member) = (&event.coupon_code, &event.member_id);
    let decided = database.coupon_issues().decided_of_member(code, member, Some(event.request_id)).await.unwrap();
    decided.iter().map(|decided| decided.decision).collect()
}

/// Contention is not a verdict; the consumers try again, and so does a test.
async fn retried<T, F: Future<Output = Result<T, coupon_core::repo::RepoError>>>(work: impl Fn() -> F) -> T {
    for _ in 0..20 {
        match work().await {
            Ok(done) => return done,
            Err(error) => assert_eq!(Failure::from(&error).class, Class::Contended, "{error:?}"),
        }
    }
    panic!("contended twenty times in a row")
}

pub async fn issue(database: &Database, event: &CouponIssued) -> IssueOutcome {
    outcome_of(
        &database.coupon_issues().issue(shared(std::slice::from_ref(event)), WHOLE_BATCH, None).await.unwrap(),
        0,
    )
}

/// Returns the outcome of one event of a batch.
pub fn outcome_of(written: &Written, place: usize) -> IssueOutcome {
    *written.outcomes[place].as_ref().unwrap().as_ref().unwrap()
}

pub fn event(code: &CouponCode, member: &str) -> CouponIssued {
    CouponIssued {
        version: 1,
        request_id: RequestId::from(Uuid::now_v7()),
        coupon_code: code.clone(),
        member_id: member.parse().unwrap(),
        reserved_at: chrono::Utc::now().timestamp_millis(),
        epoch: 1,
        seq: 7,
        traceparent: None,
    }
}

/// Returns the compensation of an event whose dead letter has this offset.
pub fn compensation(event: &CouponIssued, offset: i64, budget: Budget) -> Compensation {
    let record = NewDlqEvent {
        topic: "t.DLQ".to_owned(),
        partition: 0,
        offset,
        timestamp_ms: 1,
        origin: (None, None, None),
        key: None,
        payload: Some(event.encode()),
        headers: serde_json::json!([]),
        attempts: 3,
    };
    Compensation {
        event: event.clone(),
        failure: Failure::new(Class::Unknown, "P0001", "the test says no"),
        record,
        remedy: Remedy::GiveBack,
        budget: Some(budget),
        now: chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(20_000),
        by: None,
    }
}

pub fn shared(events: &[CouponIssued]) -> Vec<Arc<CouponIssued>> {
    events.iter().cloned().map(Arc::new).collect()
}
