//! The traces of requests beside their decisions: kept where they can be, and never worth a decision.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use coupon_core::{
    event::CouponIssued,
    ids::CouponCode,
    repo::{
        audit::{Actor, Identity},
        coupon_issues::{IssueOutcome, WHOLE_BATCH},
        retention::{Bound, Purgeable},
    },
};
use sqlx::{Connection, Executor, PgConnection};
use tokio::time::Instant;

use crate::{
    ledger::{event, outcome_of, shared},
    servers::{OwnDatabase, campaign, wait_for_locks},
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
fn traced(code: &CouponCode, member: &str) -> CouponIssued {
    CouponIssued { traceparent: Some(TRACE.into()), ..event(code, member) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_has_the_trace_of_its_request_and_is_made_where_none_can_be_kept() {
    let own = OwnDatabase::create("kept_traces").await;
    let (database, url) = own.parts();
    let code: CouponCode = "TRACED".parse().unwrap();
    campaign(&database, &code, 20).await;
    let both = [traced(&code, "a"), event(&code, "b")];
    // A second time changes nothing.
    for _ in 0..2 {
        database.coupon_issues().issue(shared(&both), WHOLE_BATCH, None).await.unwrap();
    }
    let id = database.coupon_decision_batches().numbers(&code).await.unwrap().unwrap().coupon_id;
    let page = database.coupon_decision_batches().page(id, 1, 2).await.unwrap();
    let traces: Vec<Option<&str>> = page.decisions.iter().map(|decision| decision.traceparent.as_deref()).collect();
    assert_eq!(traces, [Some(TRACE), None]);
    let soon = Bound { before: Utc::now() + TimeDelta::hours(1), unpublished: false };
    let actor = Actor { by: Identity::command_line("olga"), now: Utc::now() };
    let purged = database.retention().purge(Purgeable::DecisionTraces, soon, None, 100, actor).await.unwrap();
    assert_eq!(purged.rows, 1);
    let page = database.coupon_decision_batches().page(id, 1, 2).await.unwrap();
    assert_eq!((page.decisions.len(), page.missing), (2, None), "the decisions are there all the same");

    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("ALTER TABLE coupon_decision_traces ADD CONSTRAINT none CHECK (false) NOT VALID").await.unwrap();
    database.coupon_issues().issue(shared(&[traced(&code, "c")]), WHOLE_BATCH, None).await.unwrap();
    assert_eq!(database.coupon_decision_batches().count(&code).await.unwrap().unwrap().decisions, 3);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_locks_traces_delays_a_decision_by_a_moment_and_costs_it_no_attempt() {
    // One connection for writes: what a transaction left in it would meet the next statement.
    let own = OwnDatabase::with_connections("traces_locked", 2).await;
    let (database, url) = own.parts();
    let code: CouponCode = "LOCKED".parse().unwrap();
    campaign(&database, &code, 20).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut tx = raw.begin().await.unwrap();
    tx.execute("LOCK TABLE coupon_decision_traces IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let begun = Instant::now();
    let written = database.coupon_issues().issue(shared(&[traced(&code, "a")]), WHOLE_BATCH, None).await.unwrap();
    assert_eq!(outcome_of(&written, 0), IssueOutcome::IssuedNow);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    tx.rollback().await.unwrap();

    // The decision itself waits as long as ever for its own lock.
    let mut tx = raw.begin().await.unwrap();
    tx.execute("UPDATE coupons SET updated_at = now()").await.unwrap();
    let behind = {
        let (database, batch) = (database.clone(), [traced(&code, "b")]);
        tokio::spawn(async move { database.coupon_issues().issue(shared(&batch), WHOLE_BATCH, None).await })
    };
    wait_for_locks(&url, 1, 500.0).await;
    tx.commit().await.unwrap();
    assert_eq!(outcome_of(&behind.await.unwrap().unwrap(), 0), IssueOutcome::IssuedNow);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_locked_in_the_order_of_their_requests_whatever_that_of_the_batch_is() {
    let own = OwnDatabase::create("traces_sorted").await;
    let (database, url) = own.parts();
    let code: CouponCode = "SORTED".parse().unwrap();
    campaign(&database, &code, 20).await;
    let mut batch = [traced(&code, "a"), traced(&code, "b")];
    batch.sort_by_key(|event| std::cmp::Reverse(event.request_id.as_uuid()));
    let [later, earlier] = batch.each_ref().map(|event| event.request_id.as_uuid());
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut tx = raw.begin().await.unwrap();
    let keep = "INSERT INTO coupon_decision_traces (request_id, traceparent) VALUES ($1, $2)";
    sqlx::query(keep).bind(earlier).bind(TRACE).execute(&mut *tx).await.unwrap();
    let behind = tokio::spawn(async move {
        database.coupon_issues().issue(shared(&batch), WHOLE_BATCH, None).await.unwrap();
        database
    });
    wait_for_locks(&url, 1, 0.0).await;
    tx.execute("SET LOCAL lock_timeout = '20ms'").await.unwrap();
    sqlx::query(keep).bind(later).bind(TRACE).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    drop(behind.await.unwrap());
    own.drop().await;
}
