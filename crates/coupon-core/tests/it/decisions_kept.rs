//! How long the numbers of decisions are kept, and what becomes of them after rows were changed by hand.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
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

pub(crate) const LEASE: Duration = Duration::from_mins(1);

fn actor() -> Actor {
    let by = Identity { reason: "deleted by hand".to_owned(), ..Identity::command_line("olga") };
    Actor { by, now: Utc::now() }
}

/// Has these members decided, one after the other.
pub(crate) async fn decide(database: &Database, code: &CouponCode, members: &[&str]) {
    for member in members {
        let event = event(code, member);
        database.coupon_issues().issue(shared(&[event]), WHOLE_BATCH, None).await.unwrap();
    }
}

pub(crate) async fn id_of(database: &Database, code: &CouponCode) -> i64 {
    database.coupon_decision_batches().numbers(code).await.unwrap().unwrap().coupon_id
}

/// Accepts what there is to accept now.
async fn accept(database: &Database, code: &CouponCode) -> Option<AcceptedNumbers> {
    let batches = database.coupon_decision_batches();
    let gaps = batches.gaps(code).await.unwrap().unwrap();
    assert_eq!(gaps.lost.max(0), 0, "it would be refused");
    batches.accept(code.clone(), gaps, actor()).await.unwrap()
}

async fn purge(database: &Database, unpublished: bool) -> i64 {
    let bound = bound(Utc::now() - TimeDelta::days(30), unpublished);
    database.retention().purge(Purgeable::DecisionBatches, bound, None, 100, actor()).await.unwrap().rows
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
    assert_eq!(purge(&database, false).await, 0, "where they are published, each waits for its event");
    assert_eq!(purge(&database, true).await, 3);
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
async fn numbers_that_nobody_was_told_of_stay_while_somebody_publishes_and_above_one_that_is_kept() {
    let own = OwnDatabase::create("kept_switched").await;
    let (database, url) = own.parts();
    let code: CouponCode = "SWITCHED".parse().unwrap();
    campaign(&database, &code, 10).await;
    decide(&database, &code, &["a", "b", "c"]).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("UPDATE coupon_decision_batches SET decided_at = now() - interval '40 days' WHERE first_no > 1")
        .await
        .unwrap();
    let (batches, id) = (database.coupon_decision_batches(), id_of(&database, &code).await);
    batches.note_complete(&code, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(purge(&database, true).await, 0, "the mark would pass the first one, which is kept and told of");
    raw.execute("UPDATE coupon_decision_batches SET decided_at = now() - interval '40 days'").await.unwrap();
    assert_eq!(batches.lease(id, "me".to_owned(), LEASE).await.unwrap(), Some(0));
    assert_eq!(purge(&database, true).await, 0, "who has the lease has read the mark, and would miss them");
    assert!(batches.move_mark(id, "me".to_owned(), (0, 1), LEASE).await.unwrap());
    assert_eq!(purge(&database, true).await, 1, "what was told goes");
    batches.release_leases("me".to_owned()).await.unwrap();
    assert_eq!(purge(&database, true).await, 0, "who is started anew goes on where it was");
    let mark = batches.lease(id, "me".to_owned(), LEASE).await.unwrap();
    assert_eq!((mark, batches.page(id, 2, 3).await.unwrap().missing), (Some(1), None));
    batches.release_leases("me".to_owned()).await.unwrap();
    raw.execute("UPDATE coupon_decision_marks SET relayed_at = now() - interval '2 days'").await.unwrap();
    // As a relay takes it that begins while they are purged.
    let mut tx = raw.begin().await.unwrap();
    tx.execute("UPDATE coupon_decision_marks SET owner = 'other', owned_until = now() + interval '1 minute'")
        .await
        .unwrap();
    assert_eq!(purge(&database, true).await, 0, "the mark is locked");
    tx.rollback().await.unwrap();
    assert_eq!(purge(&database, true).await, 2, "nobody publishes any more");
    assert_eq!(batches.lease(id, "me".to_owned(), LEASE).await.unwrap(), Some(3));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_number_that_is_old_enough_goes_with_the_higher_one_that_is_older() {
    let own = OwnDatabase::create("kept_late").await;
    let (database, url) = own.parts();
    let code: CouponCode = "LATE".parse().unwrap();
    campaign(&database, &code, 10).await;
    decide(&database, &code, &["a", "b", "c"]).await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute(
        "UPDATE coupon_decision_batches SET decided_at = now() - (CASE first_no WHEN 2 THEN 42 WHEN 1 THEN 41 ELSE 40 END) * interval '1 day'",
    )
    .await
    .unwrap();
    let (batches, id) = (database.coupon_decision_batches(), id_of(&database, &code).await);
    batches.note_complete(&code, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    let old = bound(Utc::now() - TimeDelta::days(30), true);
    let first = database.retention().purge(Purgeable::DecisionBatches, old, None, 1, actor()).await.unwrap();
    assert_eq!((first.rows, batches.lease(id, "me".to_owned(), LEASE).await.unwrap()), (2, Some(2)));
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

    assert_eq!(batches.number_lost(&code).await.unwrap(), 1, "e gets another number");
    let count = batches.count(&code).await.unwrap().unwrap();
    assert_eq!((count.last, count.decisions, count.difference()), (7, 3, 4));
    let accepted = accept(&database, &code).await;
    assert_eq!(accepted, Some(AcceptedNumbers { last: 7, difference: 4, passed_over: vec![(3, 5)] }));
    assert_eq!(batches.count(&code).await.unwrap().unwrap().difference(), 0, "it is no drift any more");
    let again = accept(&database, &code).await;
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
    let accepted = accept(&database, &code).await;
    assert_eq!(accepted, Some(AcceptedNumbers { last: 3, difference: 0, passed_over: Vec::new() }));
    decide(&database, &code, &["d"]).await;
    let count = batches.count(&code).await.unwrap().unwrap();
    assert_eq!((count.last, count.difference()), (4, 0));
    let gaps = batches.gaps(&code).await.unwrap().unwrap();
    raw.execute("UPDATE coupons SET archived_at = now(), status = 'CLOSED'").await.unwrap();
    assert_eq!(batches.gaps(&code).await.unwrap(), None);
    assert_eq!(batches.accept(code, gaps, actor()).await.unwrap(), None, "the rows of an archived campaign stay");
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_whose_number_alone_was_deleted_gets_another_and_is_not_said_to_be_missing() {
    let own = OwnDatabase::create("kept_numbers").await;
    let (database, url) = own.parts();
    let code: CouponCode = "UNNUMBERED".parse().unwrap();
    campaign(&database, &code, 20).await;
    decide(&database, &code, &["a", "b", "c", "d", "e"]).await;
    let (batches, id) = (database.coupon_decision_batches(), id_of(&database, &code).await);
    let mut raw = PgConnection::connect(&url).await.unwrap();
    // The first is published and purged.
    for statement in [
        "UPDATE coupon_decision_batches SET decided_at = now() - interval '40 days' WHERE first_no = 1",
        "UPDATE coupon_issues SET decided_at = now() - interval '40 days' WHERE member_id = 'a'",
    ] {
        raw.execute(statement).await.unwrap();
    }
    batches.note_complete(&code, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(batches.lease(id, "me".to_owned(), LEASE).await.unwrap(), Some(0));
    assert!(batches.move_mark(id, "me".to_owned(), (0, 1), LEASE).await.unwrap());
    assert_eq!(purge(&database, false).await, 1);
    raw.execute("DELETE FROM coupon_decision_batches WHERE first_no IN (3, 4)").await.unwrap();
    assert_eq!(batches.count(&code).await.unwrap().unwrap().difference(), 0, "the counts do not show it");
    assert_eq!(batches.gaps(&code).await.unwrap().unwrap().lost, 2);

    assert_eq!(batches.number_lost(&code).await.unwrap(), 2, "not the one that was purged");
    let accepted = accept(&database, &code).await;
    assert_eq!(accepted, Some(AcceptedNumbers { last: 7, difference: 2, passed_over: vec![(3, 4)] }));
    assert!(batches.move_mark(id, "me".to_owned(), (1, 2), LEASE).await.unwrap());
    assert_eq!(batches.pass_over(id, "me".to_owned(), 3, LEASE).await.unwrap(), Some(4));
    let page = batches.page(id, 5, 7).await.unwrap();
    let members: Vec<&str> = page.decisions.iter().map(|decision| decision.member_id.as_str()).collect();
    assert_eq!((members, page.missing), (vec!["e", "c", "d"], None));
    own.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_between_the_reading_and_the_accepting_is_passed_over_by_nobody() {
    let own = OwnDatabase::create("kept_meanwhile").await;
    let (database, url) = own.parts();
    let code: CouponCode = "MEANWHILE".parse().unwrap();
    campaign(&database, &code, 20).await;
    decide(&database, &code, &["a", "b", "c", "d"]).await;
    let (batches, id) = (database.coupon_decision_batches(), id_of(&database, &code).await);
    let mut raw = PgConnection::connect(&url).await.unwrap();
    raw.execute("DELETE FROM coupon_issues WHERE member_id IN ('a', 'b', 'c')").await.unwrap();
    raw.execute("DELETE FROM coupon_decision_batches WHERE first_no = 3").await.unwrap();
    // A number that was lowered is given again.
    raw.execute("UPDATE coupons SET decision_no = 2, issued_quantity = 1").await.unwrap();
    let gaps = batches.gaps(&code).await.unwrap().unwrap();
    assert_eq!((gaps.last, gaps.difference, gaps.lost), (2, 1, 0));
    decide(&database, &code, &["e"]).await;
    assert_eq!(batches.lease(id, "me".to_owned(), LEASE).await.unwrap(), Some(0));
    assert!(batches.move_mark(id, "me".to_owned(), (0, 1), LEASE).await.unwrap());
    let accepted = batches.accept(code.clone(), gaps, actor()).await.unwrap();
    assert_eq!(accepted, Some(AcceptedNumbers { last: 4, difference: 2, passed_over: vec![(2, 2)] }));
    assert_eq!(batches.page(id, 3, 4).await.unwrap().decisions.len(), 2, "the third exists by now");
    assert_eq!(batches.count(&code).await.unwrap().unwrap().difference(), 0);
    own.drop().await;
}
