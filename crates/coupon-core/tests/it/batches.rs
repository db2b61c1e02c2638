//! Batches with rows that are there already, rows that the database refuses, and others in the way.

use coupon_core::{
    event::CouponIssued,
    failure::{Class, Failure},
    ids::CouponCode,
    repo::issues::{Expected, Outcome},
};
use sqlx::{Connection, PgConnection};

use crate::{
    ledger::{event, issue, shared},
    servers::{OwnDatabase, campaign},
};

#[tokio::test]
async fn each_event_of_a_batch_gets_its_own_outcome_whatever_is_expected_of_it_and_the_others_are_written() {
    const NOW: &str = "IssuedNow";
    let own = OwnDatabase::create("refused").await;
    let (database, url) = own.parts();
    let mut raw = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("ALTER TABLE coupon_issues ADD CONSTRAINT nobody_called_bad CHECK (member_id NOT LIKE '%-bad')")
        .execute(&mut raw)
        .await
        .unwrap();
    for (number, expected) in [Expected::AllNew, Expected::SomeThere, Expected::SomeRefused].into_iter().enumerate() {
        let code: CouponCode = format!("REFUSED-{number}").parse().unwrap();
        campaign(&database, &code, 999).await;
        let known = event(&code, "m-005");
        let held = event(&code, "m-030");
        for before in [&known, &held] {
            assert_eq!(issue(&database, before).await, Outcome::IssuedNow);
        }
        // At both ends, on both sides of where parts and quarters meet, side by side and alone.
        let bad = [0, 3, 4, 15, 16, 17, 21, 36, 37, 38, 39, 45, 66];
        let batch: Vec<CouponIssued> = (0..67)
            .map(|place| match place {
                5 => known.clone(),
                place if bad.contains(&place) => event(&code, &format!("m-{place:03}-bad")),
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
        assert_eq!(counted, (54, 165, 54), "{expected:?}");
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
