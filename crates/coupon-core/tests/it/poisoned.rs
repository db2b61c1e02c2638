//! sqlx 0.9 can leave a pooled connection inside a transaction when the future that began it is dropped; writes
//! through it then report success and are gone. Callers of this library are cancelled at every await all the time.

use std::time::Duration;

use coupon_core::{
    ids::CouponCode,
    repo::coupons::{Actor, NewCoupon},
};
use sqlx::{Connection, PgConnection};

use crate::servers::OwnDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn writes_survive_callers_that_are_cancelled_at_any_instant() {
    let own = OwnDatabase::create("poisoned").await;
    let (database, url) = own.parts();
    let create = |name: String| {
        let database = database.clone();
        async move {
            let coupon_code: CouponCode = name.parse().unwrap();
            let now = chrono::Utc::now();
            let new = NewCoupon { coupon_code, total_quantity: 1, opens_at: now, closes_at: None, valid_days: 30 };
            database.create_coupon(new, Actor { name: "test".to_owned(), now }).await
        }
    };
    for round in 0..300_u64 {
        // Cancelled anywhere between before the first byte and after the last answer.
        let _ = tokio::time::timeout(Duration::from_micros(round * 17), create(format!("CANCELLED-{round}"))).await;
        let kept = format!("KEPT-{round}");
        assert!(create(kept.clone()).await.unwrap());
    }
    database.close().await;
    let mut raw = PgConnection::connect(&url).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM coupons WHERE coupon_code LIKE 'KEPT-%'")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(kept, 300, "a write that returned Ok is there");
    let in_transaction: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    assert_eq!(in_transaction, 0);
    own.drop().await;
}
