//! Batches with rows that are there already, rows that the database refuses, and others in the way.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use coupon_core::{
    event::CouponIssued,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::{
        Database, RepoError,
        coupon_issues::{IssueOutcome, WHOLE_BATCH},
    },
    writing::{Writer, WriterSettings},
};
use sqlx::{Connection, PgConnection};
use tokio::sync::mpsc;

use crate::{
    ledger::{event, issue, shared},
    servers::{OwnDatabase, campaign},
};

mod costs;
mod model;

#[tokio::test]
async fn each_event_of_a_batch_gets_its_own_outcome_whatever_parts_it_begins_with_and_the_others_are_written() {
    const NOW: &str = "IssuedNow";
    let own = OwnDatabase::create("refused").await;
    let (database, url) = own.parts();
    let mut raw = refusing(&url).await;
    for (number, part) in [WHOLE_BATCH, 32, 7, 1].into_iter().enumerate() {
        let code: CouponCode = format!("REFUSED-{number}").parse().unwrap();
        campaign(&database, &code, 999).await;
        let known = event(&code, "m-005");
        let held = event(&code, "m-030");
        for before in [&known, &held] {
            assert_eq!(issue(&database, before).await, IssueOutcome::IssuedNow);
        }
        // At both ends, on both sides of where parts meet, side by side and alone.
        let bad = [0, 3, 4, 15, 16, 17, 21, 31, 32, 33, 45, 66];
        let late = [18, 40];
        let mut batch: Vec<CouponIssued> = (0..67)
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
        // The same event once more, and the same request for somebody else.
        batch.push(batch[60].clone());
        batch.push(CouponIssued { member_id: "thief".parse().unwrap(), ..batch[61].clone() });
        let (outcomes, _) = all_issued(&database, &batch, part).await;
        let mut twice = Vec::new();
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
                60 | 67 => {
                    twice.push(told);
                    continue;
                }
                68 => "OtherMember".to_owned(),
                _ => NOW.to_owned(),
            };
            assert_eq!(told, meant, "{place}, {part}");
        }
        twice.sort();
        assert_eq!(twice, ["IssuedBefore", NOW], "{part}");
        let counted: (i64, i64, i64) = sqlx::query_as(
            "SELECT issued_quantity, high_seq, (SELECT count(*) FROM coupon_issues i WHERE i.coupon_id = c.coupon_id)
             FROM coupons c WHERE coupon_code = $1",
        )
        .bind(code.as_str())
        .fetch_one(&mut raw)
        .await
        .unwrap();
        assert_eq!(counted, (52, 165, 52), "{part}");
    }
    own.drop().await;
}

#[tokio::test]
async fn a_refusal_that_comes_with_the_commit_costs_no_other_event_its_row() {
    let own = OwnDatabase::create("deferred").await;
    let (database, url) = own.parts();
    let mut raw = refusing(&url).await;
    sqlx::raw_sql(
        "CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON coupon_issues DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.member_id LIKE '%-deferred') EXECUTE FUNCTION refuse();",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    let code: CouponCode = "DEFERRED".parse().unwrap();
    campaign(&database, &code, 99).await;
    let names = (0..40).map(|place| if place == 13 { "m-13-deferred".to_owned() } else { format!("m-{place:02}") });
    let events: Vec<_> = names.map(|name| (event(&code, &name), false)).collect();
    let outcomes = written(&database, &events).await;
    for (place, outcome) in outcomes.into_iter().enumerate() {
        let told = outcome.map_err(|failure| failure.code);
        assert_eq!(told, if place == 13 { Err("P0001".to_owned()) } else { Ok(IssueOutcome::IssuedNow) }, "{place}");
    }
    own.drop().await;
}

#[tokio::test]
async fn a_refusal_names_its_constraint_whether_the_row_was_alone_or_among_others() {
    let own = OwnDatabase::create("named").await;
    let (database, url) = own.parts();
    refusing(&url).await;
    let code: CouponCode = "NAMED".parse().unwrap();
    campaign(&database, &code, 99).await;
    let batch: Vec<CouponIssued> = ["a", "b-bad", "c"].iter().map(|member| event(&code, member)).collect();
    for events in [&batch[..], &batch[1..2]] {
        let (outcomes, _) = all_issued(&database, events, WHOLE_BATCH).await;
        let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].constraint(), Some("nobody_called_bad"));
    }
    own.drop().await;
}

/// A trigger says what it likes, and a server speaks the language of `lc_messages`.
#[tokio::test]
async fn causes_and_budgets_keep_apart_what_the_server_names_in_its_fields_alone() {
    let own = OwnDatabase::create("fields").await;
    let (database, url) = own.parts();
    let mut raw = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'geht nicht' USING ERRCODE = '23514', CONSTRAINT = TG_ARGV[0]; END $$;
         CREATE TRIGGER price BEFORE INSERT ON coupon_issues
             FOR EACH ROW WHEN (NEW.member_id LIKE 'price-%') EXECUTE FUNCTION refuse('price_known');
         CREATE TRIGGER region BEFORE INSERT ON coupon_issues
             FOR EACH ROW WHEN (NEW.member_id LIKE 'region-%') EXECUTE FUNCTION refuse('region_known');",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    let code: CouponCode = "FIELDS".parse().unwrap();
    campaign(&database, &code, 99).await;
    let batch: Vec<CouponIssued> =
        ["price-1", "price-2", "region-1", "good"].iter().map(|member| event(&code, member)).collect();
    let failures = async |events: &[CouponIssued]| -> Vec<Failure> {
        let (outcomes, _) = all_issued(&database, events, WHOLE_BATCH).await;
        outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(Failure::from)).collect()
    };
    // Told by the statement that names the rows of a batch, and by the driver of a row that was alone.
    let together = failures(&batch).await;
    let mut alone = Vec::new();
    for place in 0..3 {
        alone.extend(failures(&batch[place..=place]).await);
    }
    for failures in [together, alone] {
        let budgets: Vec<String> = failures.iter().map(Failure::budget).collect();
        let (price, region) = ("PERMANENT 23514 price_known", "PERMANENT 23514 region_known");
        assert_eq!(budgets, [price, price, region], "{failures:?}");
        assert_eq!(failures[0].cause(), failures[1].cause());
        assert_ne!(failures[0].cause(), failures[2].cause());
    }
    own.drop().await;
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
    compensate(&mut tx, &batch[1]).await;
    let error = database.issue(shared(&batch), 2, None).await.unwrap_err();
    assert_eq!(Failure::from(&error).class, Class::Contended);
    tx.rollback().await.unwrap();
    let (outcomes, _) = all_issued(&database, &batch, 2).await;
    let told: Vec<IssueOutcome> = outcomes.into_iter().map(Result::unwrap).collect();
    // What fits is looked up after it was written.
    assert_eq!(told, [IssueOutcome::IssuedBefore, IssueOutcome::IssuedBefore, IssueOutcome::CapReached]);
    sqlx::query("UPDATE coupons SET epoch = 2, total_quantity = 9").execute(&mut raw).await.unwrap();
    let late: Vec<CouponIssued> = ["u", "v"].iter().map(|member| event(&code, member)).collect();
    let (outcomes, _) = all_issued(&database, &late, 1).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(IssueOutcome::OldEpoch))), "{outcomes:?}");
    own.drop().await;
}

/// Writes events as the consumers do, one call after the other, and gives the time of the longest.
async fn all_issued(
    database: &Database,
    events: &[CouponIssued],
    part: i32,
) -> (Vec<Result<IssueOutcome, RepoError>>, Duration) {
    let mut outcomes: Vec<Option<Result<IssueOutcome, RepoError>>> = events.iter().map(|_| None).collect();
    let (mut part, mut longest) = (part, Duration::ZERO);
    loop {
        let places: Vec<usize> = (0..events.len()).filter(|place| outcomes[*place].is_none()).collect();
        if places.is_empty() {
            return (outcomes.into_iter().map(Option::unwrap).collect(), longest);
        }
        let rest: Vec<CouponIssued> = places.iter().map(|place| events[*place].clone()).collect();
        let began = Instant::now();
        let written = database.issue(shared(&rest), part, None).await.unwrap();
        longest = longest.max(began.elapsed());
        part = written.next_part;
        for (place, outcome) in places.into_iter().zip(written.outcomes) {
            outcomes[place] = outcome;
        }
    }
}

/// Writes events through a writer, all at once, those that are suspected apart; gives what each was told, in their order.
async fn written(database: &Database, events: &[(CouponIssued, bool)]) -> Vec<Result<IssueOutcome, Failure>> {
    let writer = Writer::new(database.clone(), &WriterSettings { max_batch: 1000, max_parallel: 4 });
    let (told, mut outcomes) = mpsc::unbounded_channel();
    writer.write_all(events.iter().enumerate().map(|(place, (event, suspected))| {
        let told = told.clone();
        let tell = move |outcome: Result<IssueOutcome, Failure>| told.send((place, outcome)).unwrap();
        (Arc::new(event.clone()), *suspected, tell)
    }));
    drop(told);
    let mut all = HashMap::new();
    while let Some((place, outcome)) = outcomes.recv().await {
        assert!(all.insert(place, outcome).is_none(), "{place} was told twice");
    }
    (0..events.len()).map(|place| all.remove(&place).unwrap()).collect()
}

/// Decides a request against its member.
async fn compensate(connection: &mut PgConnection, event: &CouponIssued) {
    sqlx::query(
        "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at)
         SELECT coupon_id, $1, $2, 'COMPENSATED', 1, 7, now() FROM coupons WHERE coupon_code = $3",
    )
    .bind(event.request_id.as_uuid())
    .bind(event.member_id.as_str())
    .bind(event.coupon_code.as_str())
    .execute(connection)
    .await
    .unwrap();
}

/// A connection to a database that refuses members called bad, and at the end of a statement, when every row of it is in
/// the table, those called late. It passes over others.
async fn refusing(url: &str) -> PgConnection {
    let mut raw = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(
        "ALTER TABLE coupon_issues ADD CONSTRAINT nobody_called_bad CHECK (member_id NOT LIKE '%-bad');
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'nobody_called_bad'; END $$;
         CREATE TRIGGER late AFTER INSERT ON coupon_issues
             FOR EACH ROW WHEN (NEW.member_id LIKE '%-late') EXECUTE FUNCTION refuse();
         CREATE FUNCTION pass_over() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
         CREATE TRIGGER passed_over BEFORE INSERT ON coupon_issues
             FOR EACH ROW WHEN (NEW.member_id LIKE '%-passed-over') EXECUTE FUNCTION pass_over();",
    )
    .execute(&mut raw)
    .await
    .unwrap();
    raw
}
