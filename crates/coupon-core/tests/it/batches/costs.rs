//! What refused rows, and rows that somebody holds, cost the others: statements, subtransactions, time.

use std::time::{Duration, Instant};

use coupon_core::{
    event::CouponIssued,
    failure::Class,
    ids::CouponCode,
    repo::coupon_issues::{IssueOutcome, WHOLE_BATCH},
};
use sqlx::{Connection, PgConnection};

use super::{all_issued, compensate, refusing, written};
use crate::{
    ledger::{event, issue, shared},
    servers::{OwnDatabase, campaign},
};

#[tokio::test]
async fn a_refused_row_is_found_by_halving_its_part_and_costs_the_next_parts_half_of_their_size() {
    let own = OwnDatabase::create("halves").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    let code: CouponCode = "HALVES".parse().unwrap();
    campaign(&database, &code, 99).await;
    let name = |place| if place == 40 { "m-040-bad".to_owned() } else { format!("m-{place:03}") };
    let batch: Vec<CouponIssued> = (1..=64).map(|place| event(&code, &name(place))).collect();
    let written = database.issue(shared(&batch), 32, None).await.unwrap();
    assert_eq!(written.outcomes.iter().filter(|outcome| matches!(outcome, Some(Ok(_)))).count(), 63);
    // 1 to 32; to 64, 48, 40, 36, 38, 39 and 40, which is refused; and by 18 the rest.
    assert_eq!((counted.statements().await, written.next_part), (10, 26));
    own.drop().await;
}

#[tokio::test]
async fn rows_refused_after_they_were_inserted_are_not_tried_with_all_others_again_and_again() {
    let own = OwnDatabase::create("too_late").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    for (number, part) in [WHOLE_BATCH, 256, 32].into_iter().enumerate() {
        let code: CouponCode = format!("TOO-LATE-{number}").parse().unwrap();
        campaign(&database, &code, 999).await;
        let known = event(&code, "m-000");
        assert_eq!(issue(&database, &known).await, IssueOutcome::IssuedNow);
        let late = (1..256).map(|place| event(&code, &format!("m-{place:03}-late")));
        let batch: Vec<CouponIssued> = std::iter::once(known).chain(late).collect();
        let before = counted.rows().await;
        let (outcomes, _) = all_issued(&database, &batch, part).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 255);
        // All of them, by halves, a few smaller parts, and in the end row by row.
        let tried = counted.rows().await - before;
        assert!(tried <= 4 * 256, "{tried} rows, {part}");
    }
    own.drop().await;
}

/// Above 64 PostgreSQL looks subtransactions up on disk, for all sessions.
#[tokio::test]
async fn no_statement_begins_more_than_64_subtransactions_and_the_next_one_goes_on_where_it_ended() {
    let own = OwnDatabase::create("subtransactions").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    let code: CouponCode = "MANY".parse().unwrap();
    campaign(&database, &code, 999).await;
    // The last of them holds up a part in whose middle the first call ends.
    let name = |place: i32| if place % 4 == 3 { format!("m-{place:03}-bad") } else { format!("m-{place:03}") };
    let batch: Vec<CouponIssued> = (0..300).map(|place| event(&code, &name(place))).collect();
    let (mut rest, mut part, mut calls, mut good) = (batch, 32, 0, 0);
    while !rest.is_empty() {
        let before = counted.statements().await;
        let written = database.issue(shared(&rest), part, None).await.unwrap();
        let begun = counted.statements().await - before;
        assert!(begun <= 64, "{begun}");
        let outcomes = rest.into_iter().zip(written.outcomes);
        rest = outcomes
            .filter_map(|(event, outcome)| {
                good += i32::from(matches!(outcome, Some(Ok(_))));
                outcome.is_none().then_some(event)
            })
            .collect();
        (part, calls) = (written.next_part, calls + 1);
    }
    assert_eq!(good, 225);
    assert!((3..=9).contains(&calls), "{calls}");
    own.drop().await;
}

#[tokio::test]
async fn a_statement_ends_far_below_its_timeout_however_long_a_refusal_takes() {
    let own = OwnDatabase::create("slow_refusals").await;
    let (database, url) = own.parts();
    let mut raw = refusing(&url).await;
    sqlx::raw_sql(
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.06); RAISE EXCEPTION 'slow'; END $$;",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    let code: CouponCode = "SLOW".parse().unwrap();
    campaign(&database, &code, 99).await;
    let batch: Vec<CouponIssued> = (0..64).map(|place| event(&code, &format!("m-{place:03}-late"))).collect();
    let (outcomes, longest) = all_issued(&database, &batch, 1).await;
    assert!(outcomes.iter().all(Result::is_err));
    // 64 refusals take 3.8 s, the timeout is 10 s, and a call begins no part after 1 s.
    assert!(longest < Duration::from_millis(2500), "{longest:?}");
    own.drop().await;
}

#[tokio::test]
async fn suspects_are_written_together_and_apart_from_all_others() {
    let own = OwnDatabase::create("suspects").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    let code: CouponCode = "SUSPECTS".parse().unwrap();
    campaign(&database, &code, 99).await;
    let is_bad = |place| place % 3 == 0 && place > 0;
    // The first of the suspects was under suspicion for nothing.
    let name = |place| if is_bad(place) { format!("{place:02}-bad") } else { format!("{place:02}") };
    let events: Vec<_> = (0..30).map(|place| (event(&code, &name(place)), place % 3 == 0)).collect();
    for (place, outcome) in written(&database, &events).await.into_iter().enumerate() {
        let told = outcome.map_err(|failure| failure.code);
        assert_eq!(told, if is_bad(place) { Err("23514".to_owned()) } else { Ok(IssueOutcome::IssuedNow) }, "{place}");
    }
    // The twenty others at once, in the hope that all are new; of the ten the one that is written, two that fail together,
    // and each of the nine by itself.
    assert_eq!(counted.statements().await, 1 + 2 + 9);
    own.drop().await;
}

#[tokio::test]
async fn suspects_that_have_become_healthy_are_not_written_row_by_row() {
    let own = OwnDatabase::create("healed").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    let code: CouponCode = "HEALED".parse().unwrap();
    campaign(&database, &code, 999).await;
    let events: Vec<_> = (0..500).map(|place| (event(&code, &place.to_string()), true)).collect();
    let outcomes = written(&database, &events).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(IssueOutcome::IssuedNow)));
    let statements = counted.statements().await;
    assert!(statements < 20, "{statements}");
    own.drop().await;
}

#[tokio::test]
async fn one_held_decision_keeps_its_batch_waiting_once_and_is_charged_alone() {
    const LOCK_TIMEOUT: u64 = 1000;
    let own = OwnDatabase::with_lock_timeout("held_up", LOCK_TIMEOUT).await;
    let (database, url) = own.parts();
    let code: CouponCode = "HELD-UP".parse().unwrap();
    campaign(&database, &code, 999).await;
    let events: Vec<_> = (0..500).map(|place| (event(&code, &format!("m-{place:03}")), false)).collect();
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut tx = raw.begin().await.unwrap();
    compensate(&mut tx, &events[321].0).await;
    let began = Instant::now();
    let outcomes = written(&database, &events).await;
    let took = began.elapsed();
    tx.rollback().await.unwrap();
    for (place, outcome) in outcomes.into_iter().enumerate() {
        let told = outcome.map_err(|failure| (failure.class, failure.code, failure.by_itself));
        let meant =
            if place == 321 { Err((Class::Contended, "55P03".to_owned(), true)) } else { Ok(IssueOutcome::IssuedNow) };
        assert_eq!(told, meant, "{place}");
    }
    // The lock's timeout once and not at each of nine halvings, and then as often a short one.
    assert!(took < Duration::from_millis(3 * LOCK_TIMEOUT), "{took:?}");
    own.drop().await;
}

/// Counts what is inserted into a database that refuses, also what is rolled back, as sequences do.
pub struct Counted(PgConnection);

impl Counted {
    pub async fn in_database(url: &str) -> Self {
        let mut raw = refusing(url).await;
        sqlx::raw_sql(
            "CREATE SEQUENCE statements;
             CREATE SEQUENCE rows;
             CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN PERFORM nextval(TG_ARGV[0]::regclass); RETURN NEW; END $$;
             CREATE TRIGGER statements BEFORE INSERT ON coupon_issues FOR EACH STATEMENT EXECUTE FUNCTION count_it('statements');
             CREATE TRIGGER rows BEFORE INSERT ON coupon_issues FOR EACH ROW EXECUTE FUNCTION count_it('rows');",
        )
        .execute(&mut raw)
        .await
        .unwrap();
        Self(raw)
    }

    pub async fn statements(&mut self) -> i64 {
        sqlx::query_scalar("SELECT last_value FROM statements").fetch_one(&mut self.0).await.unwrap()
    }

    pub async fn rows(&mut self) -> i64 {
        sqlx::query_scalar("SELECT last_value FROM rows").fetch_one(&mut self.0).await.unwrap()
    }
}
