//! Batches with rows that are there already, rows that the database refuses, and others in the way.

use std::sync::Arc;

use coupon_core::{
    event::CouponIssued,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::issues::{Expected, Outcome},
    writing::{Writer, WriterSettings},
};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use crate::{
    ledger::{event, issue, shared},
    servers::{OwnDatabase, campaign},
};

#[tokio::test]
async fn each_event_of_a_batch_gets_its_own_outcome_whatever_is_expected_of_it_and_the_others_are_written() {
    const NOW: &str = "IssuedNow";
    let own = OwnDatabase::create("refused").await;
    let (database, url) = own.parts();
    let mut raw = refusing(&url).await;
    sqlx::raw_sql(
        "CREATE FUNCTION pass_over() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER passed_over BEFORE INSERT ON coupon_issues
             FOR EACH ROW WHEN (NEW.member_id LIKE '%-passed-over') EXECUTE FUNCTION pass_over();",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    let expectations = [Expected::AllNew, Expected::SomeThere, Expected::SomeRefused, Expected::AllRefused];
    for (number, expected) in expectations.into_iter().enumerate() {
        let code: CouponCode = format!("REFUSED-{number}").parse().unwrap();
        campaign(&database, &code, 999).await;
        let known = event(&code, "m-005");
        let held = event(&code, "m-030");
        for before in [&known, &held] {
            assert_eq!(issue(&database, before).await, Outcome::IssuedNow);
        }
        // At both ends, on both sides of where parts meet, side by side and alone.
        let bad = [0, 3, 4, 15, 16, 17, 21, 31, 32, 33, 45, 66];
        let late = [18, 40];
        let batch: Vec<CouponIssued> = (0..67)
            .map(|place| match place {
                5 => known.clone(),
                place if bad.contains(&place) => event(&code, &format!("m-{place:03}-bad")),
                place if late.contains(&place) => event(&code, &format!("m-{place:03}-late")),
                50 => event(&code, "m-050-passed-over"),
                place => {
                    CouponIssued { seq: 100 + i64::try_from(place).unwrap(), ..event(&code, &format!("m-{place:03}")) }
                }
            })
            .collect();
        let outcomes = database.issue(shared(&batch), expected).await.unwrap();
        for (place, outcome) in outcomes.iter().enumerate() {
            let told = match outcome {
                Ok(outcome) => format!("{outcome:?}"),
                Err(error) => {
                    let failure = Failure::from(error);
                    assert!(failure.message.contains("nobody_called_bad"), "{}", failure.message);
                    format!("{:?} {}", failure.class, failure.code)
                }
            };
            let meant = match place {
                5 => "IssuedBefore".to_owned(),
                30 => format!("MemberHoldsOne({:?})", held.request_id),
                place if bad.contains(&place) => "Permanent 23514".to_owned(),
                place if late.contains(&place) => "Unknown P0001".to_owned(),
                50 => "Undecided".to_owned(),
                _ => NOW.to_owned(),
            };
            assert_eq!(told, meant, "{place}, {expected:?}");
        }
        let counted: (i64, i64, i64) = sqlx::query_as(
            "SELECT issued_quantity, high_seq, (SELECT count(*) FROM coupon_issues i WHERE i.coupon_id = c.coupon_id)
             FROM coupons c WHERE coupon_code = $1",
        )
        .bind(code.as_str())
        .fetch_one(&mut raw)
        .await
        .unwrap();
        assert_eq!(counted, (52, 165, 52), "{expected:?}");
    }
    own.drop().await;
}

#[tokio::test]
async fn a_refused_row_is_found_by_how_far_its_statement_came() {
    let own = OwnDatabase::create("how_far").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    let code: CouponCode = "HOW-FAR".parse().unwrap();
    campaign(&database, &code, 99).await;
    let name = |place| if place == 39 { "m-039-bad".to_owned() } else { format!("m-{place:03}") };
    let batch: Vec<CouponIssued> = (0..64).map(|place| event(&code, &name(place))).collect();
    let outcomes = database.issue(shared(&batch), Expected::SomeRefused).await.unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 63);
    // The first 32, the next 32, those of them before the refused one, itself, those after it.
    assert_eq!(counted.statements().await, 5);
    own.drop().await;
}

#[tokio::test]
async fn rows_refused_after_they_were_inserted_are_not_tried_with_all_others_again_and_again() {
    let own = OwnDatabase::create("too_late").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    for (number, expected) in [Expected::AllNew, Expected::SomeThere, Expected::SomeRefused].into_iter().enumerate() {
        let code: CouponCode = format!("TOO-LATE-{number}").parse().unwrap();
        campaign(&database, &code, 999).await;
        let known = event(&code, "m-000");
        assert_eq!(issue(&database, &known).await, Outcome::IssuedNow);
        let late = (1..256).map(|place| event(&code, &format!("m-{place:03}-late")));
        let batch: Vec<CouponIssued> = std::iter::once(known).chain(late).collect();
        let before = counted.rows().await;
        let outcomes = database.issue(shared(&batch), expected).await.unwrap();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 255);
        // All twice, because the count is misled by the row that was there; by halves; a part and its halves, each time half
        // as many; and in the end row by row.
        let tried = counted.rows().await - before;
        assert!(tried <= 5 * 256, "{tried} rows, {expected:?}");
    }
    own.drop().await;
}

#[tokio::test]
async fn suspects_are_written_together_and_apart_from_all_others() {
    let own = OwnDatabase::create("suspects").await;
    let (database, url) = own.parts();
    let mut counted = Counted::in_database(&url).await;
    let code: CouponCode = "SUSPECTS".parse().unwrap();
    campaign(&database, &code, 99).await;
    let writer = Writer::new(database, &WriterSettings { max_batch: 100, max_parallel: 4 });
    let (told, mut outcomes) = mpsc::unbounded_channel();
    // One of them was under suspicion for nothing.
    let names =
        (0..30).map(|place| if place % 3 == 0 && place > 0 { format!("{place}-bad") } else { place.to_string() });
    writer.write_all(names.enumerate().map(|(place, name)| {
        let told = told.clone();
        let tell = move |outcome: Result<Outcome, Failure>| {
            told.send((place, outcome.map_err(|failure| failure.code))).unwrap();
        };
        (Arc::new(event(&code, &name)), place % 3 == 0, tell)
    }));
    for _ in 0..30 {
        let (place, outcome) = outcomes.recv().await.unwrap();
        let is_bad = place % 3 == 0 && place > 0;
        assert_eq!(outcome, if is_bad { Err("23514".to_owned()) } else { Ok(Outcome::IssuedNow) }, "{place}");
    }
    // The twenty others at once, in the hope that all are new, and each of the ten in a part of its own.
    assert_eq!(counted.statements().await, 1 + 10);
    own.drop().await;
}

/// A connection to a database that refuses members called bad, and at the end of a statement, when every row of it is in
/// the table, those called late.
async fn refusing(url: &str) -> PgConnection {
    let mut raw = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(
        "ALTER TABLE coupon_issues ADD CONSTRAINT nobody_called_bad CHECK (member_id NOT LIKE '%-bad');
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'nobody_called_bad'; END $$;
         CREATE TRIGGER late AFTER INSERT ON coupon_issues
             FOR EACH ROW WHEN (NEW.member_id LIKE '%-late') EXECUTE FUNCTION refuse();",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw
}

/// Counts what is inserted into a database that refuses, also what is rolled back, as sequences do.
struct Counted(PgConnection);

impl Counted {
    async fn in_database(url: &str) -> Self {
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

    async fn statements(&mut self) -> i64 {
        sqlx::query_scalar("SELECT last_value FROM statements").fetch_one(&mut self.0).await.unwrap()
    }

    async fn rows(&mut self) -> i64 {
        sqlx::query_scalar("SELECT last_value FROM rows").fetch_one(&mut self.0).await.unwrap()
    }
}

#[tokio::test]
async fn somebody_in_the_way_or_a_full_coupon_refuses_no_single_event() {
    let own = OwnDatabase::create("not_refused").await;
    let (database, url) = own.parts();
    let code: CouponCode = "FULL".parse().unwrap();
    campaign(&database, &code, 2).await;
    let batch: Vec<CouponIssued> = ["x", "y", "z"].iter().map(|member| event(&code, member)).collect();
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let mut tx = raw.begin().await.unwrap();
    // A decision on the second one that is not committed.
    sqlx::query(
        "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at)
         SELECT coupon_id, $1, 'y', 'COMPENSATED', 1, 7, now() FROM coupons",
    )
    .bind(batch[1].request_id.as_uuid())
    .execute(&mut *tx)
    .await
    .unwrap();
    let error = database.issue(shared(&batch), Expected::SomeRefused).await.unwrap_err();
    assert_eq!(Failure::from(&error).class, Class::Contended);
    tx.rollback().await.unwrap();
    let outcomes = database.issue(shared(&batch), Expected::SomeRefused).await.unwrap();
    let told: Vec<Outcome> = outcomes.into_iter().map(Result::unwrap).collect();
    // What fits is looked up after it was written.
    assert_eq!(told, [Outcome::IssuedBefore, Outcome::IssuedBefore, Outcome::CapReached]);
    sqlx::query("UPDATE coupons SET epoch = 2, total_quantity = 9").execute(&mut raw).await.unwrap();
    let late: Vec<CouponIssued> = ["u", "v"].iter().map(|member| event(&code, member)).collect();
    let outcomes = database.issue(shared(&late), Expected::SomeRefused).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Outcome::OldEpoch))), "{outcomes:?}");
    own.drop().await;
}
