//! How long the numbers of decisions are kept, what becomes of them after rows were changed by hand, and the traces beside them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    event::CouponIssued,
    ids::CouponCode,
    repo::{
        Database,
        audit::{Actor, Identity},
        coupon_decision_batches::AcceptedNumbers,
        coupon_issues::WHOLE_BATCH,
        retention::{Bound, Purgeable},
    },
};
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    ledger::{event, shared},
    servers::{OwnDatabase, campaign},
};

const LEASE: Duration = Duration::from_mins(1);

fn actor() -> Actor {
    let by = Identity { reason: "deleted by hand".to_owned(), ..Identity::command_line("olga") };
    Actor { by, now: Utc::now() }
}

/// Has these members decided, one after the other.
async fn decide(database: &Database, code: &CouponCode, members: &[&str]) {
    for member in members {
        let event = event(code, member);
        database.coupon_issues().issue(shared(&[event]), WHOLE_BATCH, None).await.unwrap();
    }
}

async fn id_of(database: &Database, code: &CouponCode) -> i64 {
    database.coupon_decision_batches().numbers(code).await.unwrap().unwrap().coupon_id
}

fn bound(before: DateTime<Utc>, unpublished: bool) -> Bound {
    Bound { before, unpublished }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_published_old_numbers_go_and_a_relay_begins_after_them() {
    let own = OwnDatabase::create("kept_off").await;
    let (database, url) = own.parts();
    let code: CouponCode = "OFF".parse().unwrap();
    campaign(&database, &code, 10).await;
    decide(&database, &code, &["a", "b", "c"]).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("UPDATE coupon_decision_batches SET decided_at = decided_at - interval '40 days'").await.unwrap();
    raw.execute("UPDATE coupon_issues SET decided_at = decided_at - interval '40 days'").await.unwrap();
    decide(&database, &code, &["d", "e"]).await;
    let (batches, now) = (database.coupon_decision_batches(), Utc::now());
    batches.note_complete(&code, now - TimeDelta::hours(1)).await.unwrap();
    let old = now - TimeDelta::days(30);
    let purge = async |unpublished: bool| {
        let purge =
            database.retention().purge(Purgeable::DecisionBatches, bound(old, unpublished), None, 100, actor()).await;
        purge.unwrap().rows
    };
    assert_eq!(purge(false).await, 0, "where they are published, each waits for its event");
    assert_eq!(purge(true).await, 3);
    let id = id_of(&database, &code).await;
    let begin = batches.lease(id, "me".to_owned(), LEASE).await.unwrap();
    assert_eq!(begin, Some(3), "a relay does not look for what is gone");
    let page = batches.page(id, 4, 5).await.unwrap();
    assert_eq!((page.decisions.len(), page.missing), (2, None));
    let count = batches.count(&code).await.unwrap().unwrap();
    assert_eq!((count.last, count.difference()), (5, 0), "no number is given anew");
    assert_eq!(batches.number_some(&code).await.unwrap(), 0);
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_numbers_of_an_archived_campaign_go_too() {
    let own = OwnDatabase::create("kept_archived").await;
    let (database, url) = own.parts();
    let code: CouponCode = "ENDED".parse().unwrap();
    campaign(&database, &code, 10).await;
    decide(&database, &code, &["a"]).await;
    let batches = database.coupon_decision_batches();
    let id = id_of(&database, &code).await;
    batches.note_complete(&code, Utc::now() - TimeDelta::hours(1)).await.unwrap();
    batches.lease(id, "me".to_owned(), LEASE).await.unwrap();
    assert!(batches.move_mark(id, "me".to_owned(), (0, 1), LEASE).await.unwrap());
    let purgeable = async || {
        let soon = bound(Utc::now() + TimeDelta::hours(1), false);
        database.retention().count_purgeable(Purgeable::DecisionBatches, soon, None, 100).await.unwrap().rows
    };
    assert_eq!(purgeable().await, 0, "decisions of the last hour may still be numbered");
    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("UPDATE coupons SET archived_at = now(), status = 'CLOSED'").await.unwrap();
    assert_eq!(purgeable().await, 1, "no reconciliation comes any more");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_whose_rows_were_deleted_are_passed_over_once_an_operator_accepts_it() {
    let own = OwnDatabase::create("kept_accepted").await;
    let (database, url) = own.parts();
    let code: CouponCode = "DAMAGED".parse().unwrap();
    campaign(&database, &code, 20).await;
    decide(&database, &code, &["a", "b", "c", "d", "e", "f"]).await;
    let (batches, id) = (database.coupon_decision_batches(), id_of(&database, &code).await);
    assert_eq!(batches.lease(id, "me".to_owned(), LEASE).await.unwrap(), Some(0));
    assert!(batches.move_mark(id, "me".to_owned(), (0, 1), LEASE).await.unwrap());
    let mut raw = PgConnection::connect(&url).await.unwrap();
    // Published, not published, and a number whose decision is still there.
    raw.execute("DELETE FROM coupon_issues WHERE member_id IN ('a', 'c', 'd')").await.unwrap();
    raw.execute("DELETE FROM coupon_decision_batches WHERE first_no = 5").await.unwrap();
    assert_eq!(batches.pass_over(id, "me".to_owned(), 2, LEASE).await.unwrap(), None, "nobody has accepted anything");

    assert_eq!(batches.number_some(&code).await.unwrap(), 1, "e gets another number");
    let count = batches.count(&code).await.unwrap().unwrap();
    assert_eq!((count.last, count.decisions, count.difference()), (7, 3, 4));
    let accepted = batches.accept(code.clone(), count.last - count.decisions, actor()).await.unwrap();
    assert_eq!(accepted, Some(AcceptedNumbers { last: 7, difference: 4, passed_over: vec![(3, 5)] }));
    assert_eq!(batches.count(&code).await.unwrap().unwrap().difference(), 0, "it is no drift any more");
    let again = batches.accept(code.clone(), count.last - count.decisions, actor()).await.unwrap();
    assert_eq!(again, accepted, "a second time changes nothing");

    // As the relay does it: up to the gap, over it, and on.
    let page = batches.page(id, 2, 7).await.unwrap();
    assert_eq!((page.decisions.len(), page.missing), (1, Some(3)));
    assert!(batches.move_mark(id, "me".to_owned(), (1, 2), LEASE).await.unwrap());
    let other = batches.pass_over(id, "other".to_owned(), 3, LEASE).await.unwrap();
    assert_eq!(other, None, "only who has the lease moves the mark");
    assert_eq!(batches.pass_over(id, "me".to_owned(), 3, LEASE).await.unwrap(), Some(5));
    let page = batches.page(id, 6, 7).await.unwrap();
    let members: Vec<&str> = page.decisions.iter().map(|decision| decision.member_id.as_str()).collect();
    assert_eq!((members, page.missing), (vec!["f", "e"], None));
    decide(&database, &code, &["g"]).await;
    assert_eq!(batches.count(&code).await.unwrap().unwrap().difference(), 0, "and stays none");
    let audited: (String, String) =
        sqlx::query_as("SELECT actor, reason FROM operator_audit WHERE verb = 'decisions.accept-missing' LIMIT 1")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    assert_eq!(audited, ("olga".to_owned(), "deleted by hand".to_owned()));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_the_campaign_that_was_lowered_is_raised_and_issuing_goes_on() {
    let own = OwnDatabase::create("kept_lowered").await;
    let (database, url) = own.parts();
    let code: CouponCode = "LOWERED".parse().unwrap();
    campaign(&database, &code, 20).await;
    decide(&database, &code, &["a", "b", "c"]).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("UPDATE coupons SET decision_no = 1").await.unwrap();
    let batches = database.coupon_decision_batches();
    let count = batches.count(&code).await.unwrap().unwrap();
    assert_eq!((count.difference(), batches.number_some(&code).await.unwrap()), (-2, 0));
    let accepted = batches.accept(code.clone(), count.last - count.decisions, actor()).await.unwrap();
    assert_eq!(accepted, Some(AcceptedNumbers { last: 3, difference: 0, passed_over: Vec::new() }));
    decide(&database, &code, &["d"]).await;
    let count = batches.count(&code).await.unwrap().unwrap();
    assert_eq!((count.last, count.difference()), (4, 0));
    raw.execute("UPDATE coupons SET archived_at = now(), status = 'CLOSED'").await.unwrap();
    assert_eq!(batches.accept(code, 0, actor()).await.unwrap(), None, "the rows of an archived campaign stay");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_has_the_trace_of_its_request_and_is_made_where_none_can_be_kept() {
    let own = OwnDatabase::create("kept_traces").await;
    let (database, url) = own.parts();
    let code: CouponCode = "TRACED".parse().unwrap();
    campaign(&database, &code, 20).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let traced = |member: &str| CouponIssued { traceparent: Some(trace.into()), ..event(&code, member) };
    let both = [traced("a"), event(&code, "b")];
    // A second time changes nothing.
    for _ in 0..2 {
        database.coupon_issues().issue(shared(&both), WHOLE_BATCH, None).await.unwrap();
    }
    let id = id_of(&database, &code).await;
    let page = database.coupon_decision_batches().page(id, 1, 2).await.unwrap();
    let traces: Vec<Option<&str>> = page.decisions.iter().map(|decision| decision.traceparent.as_deref()).collect();
    assert_eq!(traces, [Some(trace), None]);
    let soon = bound(Utc::now() + TimeDelta::hours(1), false);
    let purged = database.retention().purge(Purgeable::DecisionTraces, soon, None, 100, actor()).await.unwrap();
    assert_eq!(purged.rows, 1);
    let page = database.coupon_decision_batches().page(id, 1, 2).await.unwrap();
    assert_eq!((page.decisions.len(), page.missing), (2, None), "the decisions are there all the same");

    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("ALTER TABLE coupon_decision_traces ADD CONSTRAINT none CHECK (false) NOT VALID").await.unwrap();
    database.coupon_issues().issue(shared(&[traced("c")]), WHOLE_BATCH, None).await.unwrap();
    assert_eq!(database.coupon_decision_batches().count(&code).await.unwrap().unwrap().decisions, 3);
    own.drop().await;
}
