//! D9, the second half: a dead letter that was held because a newer build wrote it is decided by a build that reads it.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coupon_core::{
    clock::SystemClock,
    event::CouponIssued,
    failure::Failure,
    ids::{CouponCode, RequestId},
    repo::{
        Database, DatabaseSettings,
        audit::{Actor, Identity},
        coupon_issues::Decision,
        coupons::NewCoupon,
        dlq_events::{Classification, DlqEventStatus, NewDlqEvent},
        work_list::Filter,
    },
    runtime::SecretUrl,
    signing::{EventReader, HEADER, SigningKey},
    writing::{Writer, WriterSettings},
};
use dlq_consumer::jobs::NewerVersions;
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn d9_a_held_letter_is_decided_by_the_build_that_can_read_it() {
    let ahead = Ahead::new("dlq_upgrade").await;
    let (event, database) = (ahead.event("ahead", 2), &ahead.database);
    hold(database, &event, 1).await;
    let mut warned = BTreeSet::new();
    assert_eq!(ahead.build(1).decide_held(&mut warned).await.unwrap(), 0, "the old build leaves it alone");
    assert_eq!(ahead.decision(&event).await, None);
    assert_eq!(ahead.build(2).decide_held(&mut warned).await.unwrap(), 1);
    assert_eq!(ahead.decision(&event).await, Some(Decision::Issued));
    assert_eq!(ahead.statuses().await, [DlqEventStatus::Recovered]);
    assert_eq!(ahead.build(2).decide_held(&mut warned).await.unwrap(), 0, "nothing is decided twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_letter_whose_member_holds_one_or_whose_epoch_is_over_is_decided_like_any_other() {
    let ahead = Ahead::new("dlq_upgrade_late").await;
    let database = &ahead.database;
    let (first, second, old) = (ahead.event("twice", 2), ahead.event("twice", 2), ahead.event("old", 1));
    for (offset, event) in [(1, &first), (2, &second), (3, &old)] {
        hold(database, event, offset).await;
    }
    let mut warned = BTreeSet::new();
    assert_eq!(ahead.build(2).decide_held(&mut warned).await.unwrap(), 3);
    assert!(warned.is_empty(), "nobody is warned of what is decided");
    assert_eq!(ahead.decision(&first).await, Some(Decision::Issued));
    for event in [&second, &old] {
        assert_eq!(ahead.decision(event).await, Some(Decision::Compensated));
    }
    // Newest first.
    let statuses = [DlqEventStatus::Compensated, DlqEventStatus::Compensated, DlqEventStatus::Recovered];
    assert_eq!(ahead.statuses().await, statuses);
    assert_eq!(ahead.build(2).decide_held(&mut warned).await.unwrap(), 0, "nothing is decided twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_letter_that_cannot_be_written_is_warned_of_once() {
    let ahead = Ahead::new("dlq_upgrade_never").await;
    let never = CouponIssued { coupon_code: "NEVER".parse().unwrap(), ..ahead.event("nobody", 2) };
    hold(&ahead.database, &never, 1).await;
    let mut warned = BTreeSet::new();
    for _ in 0..2 {
        assert_eq!(ahead.build(2).decide_held(&mut warned).await.unwrap(), 0);
    }
    assert_eq!((warned.len(), ahead.statuses().await), (1, vec![DlqEventStatus::Held]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_letter_is_decided_only_if_it_is_signed_where_there_are_keys() {
    let ahead = Ahead::new("dlq_upgrade_signed").await;
    let (signed, forged) = (ahead.event("signed", 2), ahead.event("forged", 2));
    let (key, other) = (SigningKey::new(&[1; 32]), SigningKey::new(&[2; 32]));
    for (offset, event, key) in [(1, &forged, &other), (2, &signed, &key)] {
        let value = STANDARD.encode(key.sign(&event.encode()));
        hold_with(&ahead.database, event, offset, serde_json::json!([{ "name": HEADER, "value": value }])).await;
    }
    hold(&ahead.database, &ahead.event("unsigned", 2), 3).await;
    let verifying = NewerVersions { events: EventReader::new(vec![key], false), ..ahead.build(2) };
    assert_eq!(verifying.decide_held(&mut BTreeSet::new()).await.unwrap(), 1);
    assert_eq!(ahead.decision(&signed).await, Some(Decision::Issued));
    // Newest first.
    assert_eq!(ahead.statuses().await, [DlqEventStatus::Held, DlqEventStatus::Recovered, DlqEventStatus::Held]);
}

/// A campaign of which a newer build has written events.
struct Ahead {
    database: Database,
    code: CouponCode,
    writer: Writer,
}

impl Ahead {
    async fn new(name: &str) -> Self {
        let database = database(name).await;
        let code: CouponCode = "D9".parse().unwrap();
        let actor = || Actor { by: Identity::command_line("test"), now: chrono::Utc::now() };
        let new = NewCoupon {
            coupon_code: code.clone(),
            total_quantity: 5,
            opens_at: chrono::Utc::now(),
            closes_at: None,
            valid_days: 30,
            admission_required: false,
        };
        assert!(database.coupons().create(new, actor()).await.unwrap());
        database.coupons().begin_opening(code.clone(), actor()).await.unwrap().unwrap();
        // As after a rebuild.
        let mut raw = PgConnection::connect(&url(name)).await.unwrap();
        raw.execute("UPDATE coupons SET epoch = 2").await.unwrap();
        let writer = Writer::new(database.clone(), &WriterSettings { max_batch: 10, max_parallel: 2 });
        Self { database, code, writer }
    }

    fn event(&self, member: &str, epoch: i64) -> CouponIssued {
        CouponIssued {
            version: 2,
            request_id: RequestId::from(Uuid::now_v7()),
            coupon_code: self.code.clone(),
            member_id: member.parse().unwrap(),
            reserved_at: 1_760_000_000_000,
            epoch,
            seq: 1,
            traceparent: None,
        }
    }

    fn build(&self, supported: u64) -> NewerVersions {
        let (database, writer) = (self.database.clone(), self.writer.clone());
        let events = EventReader::default();
        NewerVersions { database, writer, events, clock: Arc::new(SystemClock), supported }
    }

    async fn decision(&self, event: &CouponIssued) -> Option<Decision> {
        let id = event.request_id;
        let decided =
            self.database.coupon_issues().decided_of_member(&self.code, &event.member_id, Some(id)).await.unwrap();
        decided.into_iter().find(|decided| decided.request_id == id).map(|decided| decided.decision)
    }

    async fn statuses(&self) -> Vec<DlqEventStatus> {
        let dead_letters = self.database.dlq_events().list(&Filter::default(), None, 10).await.unwrap();
        dead_letters.iter().map(|dead_letter| dead_letter.status).collect()
    }
}

/// Records a dead letter as HELD, as the old build does.
async fn hold(database: &Database, event: &CouponIssued, offset: i64) {
    hold_with(database, event, offset, serde_json::json!([])).await;
}

async fn hold_with(database: &Database, event: &CouponIssued, offset: i64, headers: serde_json::Value) {
    let payload = event.encode();
    let unreadable = CouponIssued::decode(Some(&payload), 1).unwrap_err();
    let dead_letter = NewDlqEvent {
        topic: "coupon-issued.DLQ".to_owned(),
        partition: 0,
        offset,
        timestamp_ms: 1,
        origin: (None, None, None),
        key: None,
        payload: Some(payload),
        headers,
        attempts: 0,
    };
    let failure = Failure::from(&unreadable);
    let classification = Classification {
        status: DlqEventStatus::Held,
        event: None,
        event_version: Some(2),
        failure: &failure,
        failed_issue_id: None,
        alarm: true,
        now: chrono::Utc::now(),
    };
    database.dlq_events().record(dead_letter, classification).await.unwrap();
}

/// The database of this name on the server of the stack.
fn url(name: &str) -> String {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make test`");
    let (base, _) = url.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}

async fn database(name: &str) -> Database {
    let mut admin = PgConnection::connect(&url("postgres")).await.unwrap();
    for statement in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
        admin.execute(sqlx::AssertSqlSafe(statement)).await.unwrap();
    }
    let settings = DatabaseSettings {
        url: SecretUrl::new(url(name)),
        max_connections: 4,
        acquire_timeout_ms: 5000,
        statement_timeout_ms: 10_000,
        lock_timeout_ms: 5000,
        max_lifetime_ms: 60_000,
        ..DatabaseSettings::default()
    };
    let database = Database::new(&settings, "dlq-consumer tests").unwrap();
    database.migrate().await.unwrap();
    database
}
