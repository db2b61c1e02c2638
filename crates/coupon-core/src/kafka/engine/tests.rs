//! What a failure of one record costs the others. The client is never polled, so no broker is needed; PostgreSQL is.

use std::sync::Mutex;

use proptest::prelude::*;

use super::*;
use crate::{
    clock::SystemClock,
    event::CouponIssued,
    failure::Class,
    ids::RequestId,
    kafka::{BreakerStates, handler::Attempt},
    repo::{Database, DatabaseSettings},
    retry,
    runtime::{Health, SecretUrl},
    writing::{Writer, WriterSettings},
};

const TOPIC: &str = "nobody-polls";

/// Writes events together. The first callback that gets an outcome panics.
struct Panicking {
    writer: Option<Writer>,
    told: Arc<Mutex<u32>>,
    /// Probes so far; the first panics.
    probes: Mutex<u32>,
}

impl Handler for Panicking {
    type Item = Arc<CouponIssued>;
    const ATTEMPT_DEPENDENCY: &'static str = "postgresql";
    const EXHAUSTED_DEPENDENCY: &'static str = "kafka";

    fn read(&self, record: &Record) -> Result<Self::Item, Failure> {
        Ok(Arc::new(CouponIssued::decode(record.value.as_deref(), 1)?))
    }

    fn request_id(&self, event: &Self::Item) -> RequestId {
        event.request_id
    }

    async fn attempt_all(self: Arc<Self>, attempts: Vec<Attempt<Self::Item>>) {
        let told = Arc::clone(&self.told);
        let events = attempts.into_iter().map(|attempt| {
            let (event, told) = (Arc::clone(attempt.work.item.as_ref().unwrap()), Arc::clone(&told));
            (event, attempt.quarantined, move |outcome: Result<_, Failure>| {
                let first = {
                    let mut told = told.lock().unwrap();
                    *told += 1;
                    *told == 1
                };
                assert!(!first, "the reply of the first panics");
                attempt.end(outcome.map(drop));
            })
        });
        self.writer.as_ref().unwrap().write_all(events);
    }

    async fn attempt(&self, _: &Work<Self::Item>, _: &Self::Item, _: u32, _: bool) -> Result<(), Failure> {
        Ok(())
    }

    async fn on_exhausted(&self, _: &Work<Self::Item>, _: &Failure, _: History) -> Result<(), Failure> {
        Ok(())
    }

    fn may_be_the_records_doing(_: &Failure) -> bool {
        false
    }

    async fn probe(&self) -> Result<(), Failure> {
        let first = {
            let mut probes = self.probes.lock().unwrap();
            *probes += 1;
            *probes == 1
        };
        assert!(!first, "the first probe panics");
        Ok(())
    }
}

/// An engine with partition 0, and a record in it for each offset.
fn engine(writer: Option<Writer>, offsets: i64) -> (Engine<Panicking>, Vec<Key>) {
    let kafka = KafkaSettings { brokers: "127.0.0.1:1".to_owned(), ..KafkaSettings::default() };
    let group = GroupSettings { group_id: "nobody".to_owned(), session_timeout_ms: 6000 };
    let windows = ConsumerSettings { window_per_partition: 100, window_total: 100 };
    let policy = Policy { schedule: retry::WRITE, contended_is_final: true, drain: Duration::ZERO };
    let handler = Arc::new(Panicking { writer, told: Arc::default(), probes: Mutex::default() });
    let health = Health::new(Shutdown::new());
    let readiness = Readiness {
        joined: health.condition("consumer group"),
        dependencies: health.condition("postgresql"),
        breakers: BreakerStates::default(),
    };
    let settings = (&kafka, &group, &windows);
    let mut engine = Engine::new(settings, "test", TOPIC, policy, handler, Arc::new(SystemClock), readiness).unwrap();
    engine.tracker.assign(&[0]);
    let keys = (0..offsets).map(|offset| {
        let event = CouponIssued {
            version: 1,
            request_id: RequestId::from(uuid::Uuid::from_u128(u128::try_from(offset).unwrap() + 1)),
            coupon_code: "NOBODY".parse().unwrap(),
            member_id: format!("m{offset}").parse().unwrap(),
            reserved_at: 1,
            epoch: 1,
            seq: 1,
            traceparent: None,
        };
        let record = Record {
            topic: TOPIC.to_owned(),
            partition: 0,
            offset,
            timestamp_ms: None,
            key: None,
            value: Some(event.encode()),
            headers: Vec::new(),
        };
        let work = Arc::new(Work { record, request_id: Some(event.request_id), item: Ok(Arc::new(event)) });
        let entry = Entry {
            span: None,
            work,
            taken_in: Instant::now(),
            attempts: 0,
            strikes: Strikes::default(),
            isolation: Isolation::Shared,
            first_failed_at: None,
            exhausted: None,
        };
        engine.tracker.deliver(0, offset, 1, entry).unwrap().key
    });
    let keys = keys.collect();
    (engine, keys)
}

#[tokio::test]
async fn a_panic_in_a_reply_is_charged_to_no_record_of_its_batch_and_all_are_tried_again_by_themselves() {
    let settings = DatabaseSettings {
        url: SecretUrl::new(std::env::var("DATABASE_URL").expect("DATABASE_URL is set by `make test`")),
        max_connections: 2,
        acquire_timeout_ms: 5000,
        statement_timeout_ms: 5000,
        lock_timeout_ms: 5000,
        max_lifetime_ms: 60_000,
        ..DatabaseSettings::default()
    };
    let database = Database::new(&settings, "coupon-core tests").unwrap();
    let writer = Writer::new(database.clone(), &WriterSettings { max_batch: 10, max_parallel: 1 });
    let (mut engine, keys) = engine(Some(writer), 2);
    for key in &keys {
        engine.start(*key);
    }
    engine.start_shared_attempts();
    for _ in &keys {
        let ended = engine.completions.1.recv().await.unwrap();
        let failure = ended.result.as_ref().unwrap_err();
        assert_eq!((failure.class, failure.by_itself), (Class::Interrupted, true), "{failure}");
        engine.on_completion(ended);
    }
    assert_eq!(*engine.handler.told.lock().unwrap(), 1, "both were in one batch");
    for key in keys {
        let entry = engine.tracker.get_mut(key).unwrap();
        assert!(entry.attempts == 0 && entry.isolation == Isolation::Isolated && entry.exhausted.is_none());
    }
    assert_eq!(engine.timers.len(), 2, "both wait for another attempt");
    database.close().await;
}

#[tokio::test]
async fn a_probe_that_panics_leaves_the_breaker_open_only_until_the_next_one() {
    let (mut engine, keys) = engine(None, 1);
    engine.attempt_failed(keys[0], Failure::new(Class::Unavailable, "TEST", "it is away"));
    assert!(engine.breakers.blocks_attempts());
    for (probes, is_barred) in [(1, true), (2, false)] {
        let due = tokio::time::timeout(Duration::from_secs(10), engine.probes.1.recv()).await;
        engine.probe_due(due.expect("a probe that panicked was the last one").unwrap());
        assert_eq!((*engine.handler.probes.lock().unwrap(), engine.breakers.blocks_attempts()), (probes, is_barred));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_sequence_of_failures_lets_a_record_back_among_those_it_was_set_apart_from(
        failures in prop::collection::vec((0_usize..3, any::<bool>()), 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut engine, keys) = engine(None, 1);
            let mut least = Isolation::Shared;
            for (class, by_itself) in failures {
                let class = [Class::Unknown, Class::Contended, Class::Interrupted][class];
                let apart = if by_itself {
                    Isolation::Isolated
                } else if class == Class::Unknown {
                    Isolation::Quarantined
                } else {
                    Isolation::Shared
                };
                least = least.max(apart);
                engine.attempt_failed(keys[0], Failure { by_itself, ..Failure::new(class, "TEST", "a test") });
                let entry = engine.tracker.get_mut(keys[0]).unwrap();
                assert!(entry.isolation == least);
            }
        });
    }
}
