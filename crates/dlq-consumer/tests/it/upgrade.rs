//! D9, the second half: what was held because a newer build had written it is decided by the build that can read it.

use std::sync::Arc;

use coupon_core::{
    clock::SystemClock,
    event::CouponIssued,
    failure::Failure,
    ids::{CouponCode, RequestId},
    repo::{
        Database, DatabaseSettings,
        coupons::{Actor, NewCoupon},
        dead_letters::{Letter, LetterStatus, Verdict},
        filter::Filter,
        issues::Decision,
    },
    runtime::SecretUrl,
    writing::{Writer, WriterSettings},
};
use dlq_consumer::upgrade::Upgrade;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn d9_a_held_letter_is_decided_by_the_build_that_can_read_it() {
    let database = database().await;
    let code: CouponCode = "D9".parse().unwrap();
    let actor = || Actor { name: "test".to_owned(), now: chrono::Utc::now() };
    let new = NewCoupon {
        coupon_code: code.clone(),
        total_quantity: 1,
        opens_at: chrono::Utc::now(),
        closes_at: None,
        valid_days: 30,
    };
    assert!(database.create_coupon(new, actor()).await.unwrap());
    database.begin_opening(code.clone(), actor()).await.unwrap().unwrap();
    let event = CouponIssued {
        version: 2,
        request_id: RequestId::from(Uuid::now_v7()),
        coupon_code: code.clone(),
        member_id: "ahead".parse().unwrap(),
        reserved_at: 1_760_000_000_000,
        epoch: 1,
        seq: 1,
    };
    hold(&database, &event).await;

    let writer = Writer::new(database.clone(), &WriterSettings { max_batch: 10, max_parallel: 2 });
    let build = |supported| Upgrade {
        database: database.clone(),
        writer: writer.clone(),
        clock: Arc::new(SystemClock),
        supported,
    };
    let decision = async || database.decision(&code, event.request_id, &event.member_id).await.unwrap();
    assert_eq!(build(1).decide_held().await.unwrap(), 0, "the old build leaves it alone");
    assert_eq!(decision().await, None);
    assert_eq!(build(2).decide_held().await.unwrap(), 1);
    assert_eq!(decision().await.unwrap().decision, Decision::Issued);
    let letters = database.letters(&Filter::default(), None, 10).await.unwrap();
    assert_eq!(letters[0].status, LetterStatus::Recovered);
    assert_eq!(build(2).decide_held().await.unwrap(), 0, "nothing is decided twice");
}

/// Puts the letter down as the old build does.
async fn hold(database: &Database, event: &CouponIssued) {
    let payload = event.encode();
    let unreadable = CouponIssued::decode(Some(&payload), 1).unwrap_err();
    let letter = Letter {
        topic: "coupon-issued.DLQ".to_owned(),
        partition: 0,
        offset: 1,
        timestamp_ms: 1,
        origin: (None, None, None),
        key: None,
        payload: Some(payload),
        headers: serde_json::json!([]),
        attempts: 0,
    };
    let failure = Failure::from(&unreadable);
    let verdict = Verdict {
        status: LetterStatus::Held,
        event: None,
        event_version: Some(2),
        failure: &failure,
        failed_issue_id: None,
        alarm: true,
        now: chrono::Utc::now(),
    };
    database.put_down(letter, verdict).await.unwrap();
}

async fn database() -> Database {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make test`");
    let mut admin = PgConnection::connect(&url).await.unwrap();
    admin.execute("DROP DATABASE IF EXISTS dlq_upgrade WITH (FORCE)").await.unwrap();
    admin.execute("CREATE DATABASE dlq_upgrade").await.unwrap();
    let (base, _) = url.rsplit_once('/').unwrap();
    let settings = DatabaseSettings {
        url: SecretUrl::new(format!("{base}/dlq_upgrade")),
        max_connections: 4,
        acquire_timeout_ms: 5000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5000,
        max_lifetime_ms: 60_000,
    };
    let database = Database::new(&settings, "dlq-consumer tests").unwrap();
    database.migrate().await.unwrap();
    database
}
