//! Decisions that are numbered anew while the number of their campaign was lowered by hand.

use coupon_core::ids::CouponCode;
use sqlx::{Connection, Executor, PgConnection};

use crate::{
    decisions_kept::{LEASE, decide, id_of},
    servers::{OwnDatabase, campaign},
};

#[tokio::test(flavor = "multi_thread")]
async fn where_the_number_of_the_campaign_was_lowered_too_none_is_given_twice_and_none_that_was_published() {
    let own = OwnDatabase::create("kept_lowered_lost").await;
    let (database, url) = own.parts();
    let code: CouponCode = "LOWERED".parse().unwrap();
    campaign(&database, &code, 20).await;
    decide(&database, &code, &["a", "b", "c", "d", "e"]).await;
    let (batches, id) = (database.coupon_decision_batches(), id_of(&database, &code).await);
    let mut raw = PgConnection::connect(&url).await.unwrap();
    // Below the batch of 5, and then, where no batch is left, below what was published.
    raw.execute("DELETE FROM coupon_decision_batches WHERE first_no IN (3, 4)").await.unwrap();
    raw.execute("UPDATE coupons SET decision_no = 2").await.unwrap();
    assert_eq!(batches.number_lost(&code).await.unwrap(), 2);
    assert_eq!(batches.count(&code).await.unwrap().unwrap().last, 7, "6 and 7 are new");
    assert_eq!(batches.lease(id, "me".to_owned(), LEASE).await.unwrap(), Some(0));
    assert!(batches.move_mark(id, "me".to_owned(), (0, 7), LEASE).await.unwrap());
    raw.execute("DELETE FROM coupon_decision_batches").await.unwrap();
    raw.execute("UPDATE coupons SET decision_no = 2").await.unwrap();
    assert_eq!(batches.number_lost(&code).await.unwrap(), 5);
    let lowest: i64 =
        sqlx::query_scalar("SELECT min(first_no) FROM coupon_decision_batches").fetch_one(&mut raw).await.unwrap();
    assert_eq!(lowest, 8, "nobody would be told of a number that is said to be published");
    own.drop().await;
}
