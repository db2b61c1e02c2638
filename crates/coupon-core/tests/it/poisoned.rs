//! sqlx 0.9 can leave a pooled connection inside a transaction when the future that began it is dropped; writes
//! through it then report success and are gone. Callers of this library are cancelled at every await all the time.

use std::{future::poll_fn, pin::pin, task::Poll};

use coupon_core::{
    ids::CouponCode,
    repo::{
        audit::{Actor, Identity},
        coupons::{NewCoupon, TotalInRedis},
    },
};
use sqlx::{Connection, PgConnection};

use crate::servers::OwnDatabase;

/// Polls a future this often and drops it if it is not ready by then.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_survive_callers_that_are_cancelled_at_any_instant() {
    // With one connection, whoever comes next gets the one that was left behind.
    let own = OwnDatabase::with_connections("poisoned", 1).await;
    let (database, url) = own.parts();
    let create = |name: String| {
        let database = database.clone();
        async move {
            let coupon_code: CouponCode = name.parse().unwrap();
            let now = chrono::Utc::now();
            let new = NewCoupon {
                coupon_code,
                total_quantity: 1,
                opens_at: now,
                closes_at: None,
                valid_days: 30,
                admission_required: false,
            };
            database.coupons().create(new, Actor { by: Identity::command_line("test"), now }).await
        }
    };
    // Autocommitted: a COMMIT of its own would also commit what it was thrown in with, and hide it.
    let kept: CouponCode = "KEPT".parse().unwrap();
    assert!(create(kept.to_string()).await.unwrap());
    let mut raw = PgConnection::connect(&url).await.unwrap();
    for round in 1..=300 {
        // Cancelled at its first await, its second, and so on, up to after the last answer. Timers are too coarse.
        let _ = polled(round % 30, create(format!("CANCELLED-{round}"))).await;
        let total = i64::try_from(round).unwrap();
        let actor = Actor { by: Identity::command_line("test"), now: chrono::Utc::now() };
        assert!(database.coupons().settle_total(kept.clone(), total, 0, TotalInRedis::Set, actor).await.unwrap());
        let found: i64 = sqlx::query_scalar("SELECT total_quantity FROM coupons WHERE coupon_code = 'KEPT'")
            .fetch_one(&mut raw)
            .await
            .unwrap();
        assert_eq!(found, total, "a write that returned Ok is there");
    }
    own.drop().await;
}
