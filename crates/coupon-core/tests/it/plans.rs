//! `plans` on a real PostgreSQL: a plan becomes one job, whoever confirms it and however many do.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use coupon_core::{
    clock::{Clock, SystemClock},
    repo::{
        Database,
        audit::{Actor, AuditFilter, Identity, Login},
        jobs::{Beat, NewServiceJob, ServiceJobKind},
        operators::NewOperator,
        plans::{Confirmation, NewPlan, NewPlanJob},
    },
};
use serde_json::json;

use crate::servers::OwnDatabase;

fn actor(name: &str, plan: i64, now: DateTime<Utc>) -> Actor {
    Actor { by: Identity { plan_id: Some(plan), ..Identity::command_line(name) }, now }
}

async fn plan(database: &Database, needs_second: bool, now: DateTime<Utc>) -> i64 {
    let new = NewPlan {
        verb: "resolve".to_owned(),
        parameters: json!({}),
        predicate: "resolve all".to_owned(),
        up_to_id: Some(3),
        eligible: Some(3),
        refused: BTreeMap::new(),
        at_least: false,
        sample: json!([]),
        typed: None,
        needs_second,
        expires_at: now + TimeDelta::minutes(10),
    };
    database.plans().create(new, Actor { by: Identity::command_line("olga"), now }).await.unwrap()
}

async fn confirm(database: &Database, plan: i64, name: &str, now: DateTime<Utc>) -> Confirmation {
    let job = NewServiceJob {
        kind: ServiceJobKind::Settle,
        verb: "resolve".to_owned(),
        parameters: json!({}),
        progress: json!({}),
        reason: "put right".to_owned(),
    };
    let renewed = now + TimeDelta::minutes(10);
    database.plans().confirm(plan, NewPlanJob::Service(job), renewed, actor(name, plan, now)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_many_confirm_at_once_becomes_one_job() {
    let own = OwnDatabase::create("plans_once").await;
    let (database, _) = own.parts();
    let now = SystemClock.now();
    let plan = plan(&database, false, now).await;
    let all = ["a", "b", "c", "d"].map(|name| confirm(&database, plan, name, now));
    let [a, b, c, d] = all;
    let (a, b, c, d) = tokio::join!(a, b, c, d);
    let outcomes = [a, b, c, d];
    let jobs: Vec<i64> =
        outcomes.iter().filter_map(|o| if let Confirmation::Job(job) = o { Some(*job) } else { None }).collect();
    assert_eq!(jobs.len(), 1, "{outcomes:?}");
    let first = database.plans().find(plan).await.unwrap().unwrap();
    let before = Confirmation::Before(first.confirmed_by.unwrap(), first.confirmed_at.unwrap(), Some(jobs[0]));
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == before).count(), 3, "{outcomes:?}");
    assert_eq!(database.jobs().list(None, 10).await.unwrap().len(), 1);
    let audit = AuditFilter { subject: Some("jobs".to_owned()), ..AuditFilter::default() };
    let audit = database.audit().list(&audit, None, 10).await.unwrap();
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].provenance.as_ref().unwrap()["plan_id"], plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_confirmed_within_ten_minutes_or_never() {
    let own = OwnDatabase::create("plans_expired").await;
    let (database, _) = own.parts();
    let now = SystemClock.now();
    let plan = plan(&database, false, now).await;
    assert_eq!(confirm(&database, plan, "olga", now + TimeDelta::minutes(10)).await, Confirmation::Expired);
    assert_eq!(confirm(&database, plan + 1, "olga", now).await, Confirmation::Unknown);
    assert!(database.jobs().list(None, 10).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_needs_two_is_confirmed_by_two() {
    let own = OwnDatabase::create("plans_two").await;
    let (database, _) = own.parts();
    let now = SystemClock.now();
    let plan = plan(&database, true, now).await;
    let later = now + TimeDelta::minutes(8);
    assert_eq!(confirm(&database, plan, "olga", later).await, Confirmation::AwaitsSecond);
    assert_eq!(confirm(&database, plan, "olga", later).await, Confirmation::SamePerson);
    assert!(database.jobs().list(None, 10).await.unwrap().is_empty());
    // The second person has ten minutes of their own.
    let Confirmation::Job(job) = confirm(&database, plan, "otto", now + TimeDelta::minutes(15)).await else {
        panic!("the second person confirms it")
    };
    let row = database.plans().find(plan).await.unwrap().unwrap();
    assert_eq!(
        (row.first_by.as_deref(), row.confirmed_by.as_deref(), row.job_id),
        (Some("olga"), Some("otto"), Some(job))
    );
    assert_eq!(database.jobs().find(job).await.unwrap().unwrap().asked_by.name, "otto");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_whose_tokens_one_has_seen_are_one_person() {
    let own = OwnDatabase::create("plans_persons").await;
    let (database, _) = own.parts();
    let now = SystemClock.now();
    let by_command = Identity::command_line;
    let in_console = |name| Identity { login: Login::Token, ..Identity::command_line(name) };
    let added = [
        ("ada", by_command("root")),
        ("otto", by_command("root")),
        ("sock", in_console("ada")),
        ("puppet", in_console("sock")),
        ("other", in_console("ada")),
        ("olga", in_console("otto")),
        // Somebody for whom an identity provider vouches has no row.
        ("evil", in_console("eve@example.com")),
    ];
    for (place, (name, by)) in (1..).zip(added) {
        let (name, token_hash, expires_at) = (name.to_owned(), [place; 32], now + TimeDelta::days(1));
        let new = NewOperator { name, role: "admin", token_hash, expires_at };
        assert!(database.operators().add(new, Actor { by, now }).await.unwrap());
    }
    for (first, second, seen_by) in [
        ("ada", "sock", Some("ada")),
        ("sock", "ada", Some("ada")),
        ("ada", "puppet", Some("ada")),
        ("puppet", "sock", Some("sock")),
        ("other", "puppet", Some("ada")),
        ("eve@example.com", "evil", Some("eve@example.com")),
        ("ada", "otto", None),
        ("puppet", "olga", None),
        ("eve@example.com", "ada", None),
    ] {
        let plan = plan(&database, true, now).await;
        assert_eq!(confirm(&database, plan, first, now).await, Confirmation::AwaitsSecond);
        let confirmed = confirm(&database, plan, second, now).await;
        match seen_by {
            Some(by) => {
                let (first, by) = (first.to_owned(), by.to_owned());
                assert_eq!(confirmed, Confirmation::OnePerson { first, by }, "{second}");
            }
            None => assert!(matches!(confirmed, Confirmation::Job(_)), "{first} {second}: {confirmed:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_one_worker_and_one_that_has_lost_it_hears_so() {
    let own = OwnDatabase::create("jobs_held").await;
    let (database, _) = own.parts();
    let now = SystemClock.now();
    let plan = plan(&database, false, now).await;
    let Confirmation::Job(job) = confirm(&database, plan, "olga", now).await else { panic!("it is confirmed") };
    let jobs = database.jobs();
    assert_eq!(jobs.claim("a/1".to_owned()).await.unwrap().map(|row| row.job_id), Some(job));
    assert!(jobs.claim("b/2".to_owned()).await.unwrap().is_none(), "its worker is there");
    let note = || json!({ "done": 1 });
    assert_eq!(jobs.beat(job, "a/1".to_owned(), Some(note())).await.unwrap(), Beat::Held);
    jobs.release("a/1".to_owned()).await.unwrap();
    assert_eq!(jobs.claim("b/2".to_owned()).await.unwrap().map(|row| row.progress), Some(note()));
    assert_eq!(jobs.beat(job, "a/1".to_owned(), None).await.unwrap(), Beat::Lost);
    assert!(!jobs.has_workers().await.unwrap());
    jobs.note_worker("b/2".to_owned()).await.unwrap();
    assert!(jobs.has_workers().await.unwrap());
    jobs.forget_worker("b/2".to_owned()).await.unwrap();
    assert!(!jobs.has_workers().await.unwrap());
}
