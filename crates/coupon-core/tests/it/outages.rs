//! Ways in which PostgreSQL can be away, read-only, full, without rights, out of numbers or half there. Whatever the error
//! is called: no attempt is charged, nothing is decided, and once it is over everything is written.

use std::{sync::Arc, time::Duration};

use coupon_core::{
    event::CouponIssued,
    failure::{Class, Classified, Failure},
    ids::CouponCode,
    repo::{Database, DatabaseSettings, Rehearsal, coupon_issues::IssueOutcome},
    runtime::SecretUrl,
    writing::{Writer, WriterSettings},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    ledger::{BUDGET, compensation, event},
    servers::{EmptyDatabase, administrate, campaign, url, url_of},
    ways_away::{
        In::{self, Held, Own, Server},
        LOCK_TIMEOUT_MS, SHORT_LOCK_TIMEOUT_MS, WAYS, Way,
    },
};

/// Between two looks whether a condition is met.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// A service's own database, by a role without any power.
struct Service {
    database: EmptyDatabase,
    name: String,
    role: String,
    service: Database,
    writer: Writer,
    code: CouponCode,
    /// Who has something locked, once somebody has.
    holder: Mutex<Option<PgConnection>>,
}

impl Service {
    async fn create(number: usize, lock_timeout_ms: u64) -> Self {
        let (name, role) = (format!("way_{number}"), format!("core_way_role_{number}"));
        let database = EmptyDatabase::create(&name).await;
        let name = format!("core_{name}");
        let settings = |url: String, acquire_timeout_ms: u64| DatabaseSettings {
            url: SecretUrl::new(url),
            max_connections: 4,
            acquire_timeout_ms,
            statement_timeout_ms: 10_000,
            lock_timeout_ms,
            max_lifetime_ms: 600_000,
            ..DatabaseSettings::default()
        };
        let owner = Database::new(&settings(database.url.clone(), 30_000), "coupon-core tests").unwrap();
        owner.migrate().await.unwrap();
        let code: CouponCode = "WAY".parse().unwrap();
        campaign(&owner, &code, 100).await;
        owner.close().await;
        administrate(&format!("DROP ROLE IF EXISTS {role}")).await;
        administrate(&format!("CREATE ROLE {role} LOGIN PASSWORD 'secret'")).await;
        let service = Database::new(&settings(url_of(&role, "secret", &name), 500), "coupon-core tests").unwrap();
        let service = service.rehearsing(Rehearsal::Decisions);
        let writer = Writer::new(service.clone(), &WriterSettings { max_batch: 100, max_parallel: 2 });
        let own = Self { database, name, role, service, writer, code, holder: Mutex::default() };
        own.run(&[
            Own("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"),
            Own("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"),
        ])
        .await;
        own
    }

    async fn run(&self, statements: &[In]) {
        for statement in statements {
            let (place, statement) = match statement {
                Server(statement) => (None, statement),
                Own(statement) => (Some(&self.database.url), statement),
                Held(statement) => {
                    self.hold(statement).await;
                    continue;
                }
            };
            let statement = statement.replace("{db}", &self.name).replace("{role}", &self.role);
            match place {
                None => self.administrate(&statement).await,
                Some(url) => {
                    let mut raw = PgConnection::connect(url).await.unwrap();
                    raw.execute(AssertSqlSafe(statement)).await.unwrap();
                    raw.close().await.unwrap();
                }
            }
        }
    }

    async fn hold(&self, statement: &'static str) {
        let mut holder = self.holder.lock().await;
        if holder.is_none() {
            let mut raw = PgConnection::connect(&self.database.url).await.unwrap();
            raw.execute("BEGIN").await.unwrap();
            *holder = Some(raw);
        }
        holder.as_mut().unwrap().execute(statement).await.unwrap();
    }

    /// Some need a database that nobody uses.
    async fn administrate(&self, statement: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut server = PgConnection::connect(&url()).await.unwrap();
        while let Err(error) = server.execute(AssertSqlSafe(statement.to_owned())).await {
            let state = error.as_database_error().and_then(|error| error.code().map(String::from));
            assert!(state.as_deref() == Some("55006") && Instant::now() < deadline, "{statement}: {error}");
            self.end_sessions().await;
        }
    }

    async fn end_sessions(&self) {
        let role = &self.role;
        administrate(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")).await;
    }

    /// Writes these, each at once and by itself or with the others.
    async fn write(&self, events: &[Arc<CouponIssued>], alone: bool) -> Vec<Result<IssueOutcome, Failure>> {
        futures_util::future::join_all(events.iter().map(|event| self.writer.write(event, alone))).await
    }

    /// Issues a coupon, so that the connections there are have been used for all that follows. On a busy machine a new one may
    /// take longer than the pool waits for it.
    async fn issue_before(&self, what: &str) {
        let before = Arc::new(event(&self.code, "before"));
        let end = Instant::now() + Duration::from_secs(20);
        while !matches!(self.write(std::slice::from_ref(&before), true).await[..], [Ok(_)]) {
            assert!(Instant::now() < end, "{what}: nothing is issued before");
            sleep(BETWEEN_LOOKS).await;
        }
    }

    async fn decisions(&self) -> (i64, i64, i64) {
        let mut raw = PgConnection::connect(&self.database.url).await.unwrap();
        let row = raw
            .fetch_one(
                "SELECT (SELECT count(*) FROM coupon_issues WHERE decision = 'ISSUED'),
                        (SELECT count(*) FROM coupon_issues WHERE decision = 'COMPENSATED'),
                        (SELECT count(*) FROM failed_coupon_issues)",
            )
            .await
            .unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    async fn drop(self) {
        self.service.close().await;
        self.database.drop().await;
        administrate(&format!("DROP ROLE IF EXISTS {}", self.role)).await;
    }
}

/// What one way comes to; an empty text when it is right.
async fn outage(number: usize, way: &'static Way) -> String {
    let own = Service::create(number, way.lock_timeout_ms).await;
    let events: Vec<Arc<CouponIssued>> = (0..6).map(|n| Arc::new(event(&own.code, &format!("m{n}")))).collect();
    let mut wrong = Vec::new();
    own.issue_before(way.name).await;
    own.run(way.begin).await;
    if way.ends_sessions {
        own.end_sessions().await;
    }
    for round in 0..2 {
        for alone in [true, false] {
            for result in own.write(&events, alone).await {
                if !matches!(&result, Err(failure) if failure.class == Class::Unavailable) {
                    wrong.push(format!("written, alone {alone}: {result:?}"));
                }
            }
        }
        if !way.bars_decisions {
            continue;
        }
        match own.service.coupon_issues().compensate(compensation(&events[0], round, BUDGET)).await {
            Err(error) if error.class() == Class::Unavailable => {}
            other => wrong.push(format!("given up: {other:?}")),
        }
    }
    if own.service.probe().await.is_ok() {
        wrong.push("a probe commits while nothing can be written".to_owned());
    }
    own.run(way.end).await;
    let over = Instant::now();
    while own.service.probe().await.is_err() && over.elapsed() < Duration::from_secs(10) {
        sleep(BETWEEN_LOOKS).await;
    }
    let after = own.write(&events, false).await;
    if after != vec![Ok(IssueOutcome::IssuedNow); events.len()] {
        wrong.push(format!("afterwards: {after:?}"));
    }
    let decisions = own.decisions().await;
    if decisions != (7, 0, 0) {
        wrong.push(format!("issued, compensated, failed: {decisions:?}"));
    }
    own.drop().await;
    wrong.truncate(3);
    if wrong.is_empty() { String::new() } else { format!("{}: {}", way.name, wrong.join("; ")) }
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_thirty_ways_to_be_away_charges_an_attempt_or_decides_anything() {
    assert!(WAYS.len() >= 30);
    let mut wrong = Vec::new();
    for (first, ways) in WAYS.chunks(6).enumerate() {
        let mut together = JoinSet::new();
        for (number, way) in ways.iter().enumerate() {
            together.spawn(outage(first * 6 + number, way));
        }
        wrong.extend(together.join_all().await.into_iter().filter(|text| !text.is_empty()));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The other side: what the database refuses of one member is that record's, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_row_is_refused_is_charged_whatever_the_refusal_is_called() {
    let own = Service::create(WAYS.len(), LOCK_TIMEOUT_MS).await;
    for (number, state) in ["P0001", "42501", "55000", "0A000", "XX000", "23514", "22003"].into_iter().enumerate() {
        own.run(&[
            Own("DROP FUNCTION IF EXISTS refuse CASCADE"),
            Own("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN RAISE ''not this one'' USING ERRCODE = TG_ARGV[0]; END'"),
        ])
        .await;
        let mut raw = PgConnection::connect(&own.database.url).await.unwrap();
        let trigger = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON coupon_issues FOR EACH ROW WHEN (NEW.member_id LIKE 'bad%')
             EXECUTE FUNCTION refuse('{state}')"
        );
        raw.execute(AssertSqlSafe(trigger)).await.unwrap();
        let names = [format!("bad{number}"), format!("good{number}"), format!("better{number}")];
        let events = names.map(|name| Arc::new(event(&own.code, &name)));
        for alone in [true, false] {
            let results = own.write(&events, alone).await;
            assert!(
                matches!(&results[0], Err(failure) if failure.class.may_lie_in_one_record() && failure.code == state),
                "{state}: {results:?}"
            );
            assert!(results[1].is_ok() && results[2].is_ok(), "{state}: {results:?}");
        }
    }
    own.drop().await;
}

/// The other side of a locked table: who holds one campaign is in the way of that campaign, and the database is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_somebody_holds_is_contention_and_no_outage() {
    let own = Service::create(WAYS.len() + 1, SHORT_LOCK_TIMEOUT_MS).await;
    let events: Vec<Arc<CouponIssued>> = (0..3).map(|n| Arc::new(event(&own.code, &format!("m{n}")))).collect();
    own.issue_before("a campaign that is held").await;
    own.run(&[Held("SELECT FROM coupons FOR UPDATE")]).await;
    for alone in [true, false] {
        for result in own.write(&events, alone).await {
            let told = result.map_err(|failure| (failure.class, failure.code));
            assert_eq!(told, Err((Class::Contended, "55P03".to_owned())), "alone {alone}");
        }
    }
    let error = own.service.coupon_issues().compensate(compensation(&events[0], 1, BUDGET)).await.unwrap_err();
    assert_eq!((error.class(), error.code()), (Class::Contended, "55P03".to_owned()));
    assert!(own.service.probe().await.is_ok(), "the database is there");
    own.run(&[Held("ROLLBACK")]).await;
    assert_eq!(own.write(&events, false).await, vec![Ok(IssueOutcome::IssuedNow); events.len()]);
    own.drop().await;
}
