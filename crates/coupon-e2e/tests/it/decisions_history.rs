//! E5 to E8: the numbers of decisions over the life of a campaign: a rebuild, a replay, the purge, and a consumer that begins
//! with the first one. And the oracle that judges it.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use coupon_e2e::{
    kafka::record::Record,
    oracle::{Kind, verdict},
    servers::brokers,
    wait::eventually,
};
use uuid::Uuid;

use crate::{
    SOON, Services,
    decisions::{ask, number, publishing},
    replay,
};

/// Longest time in which a JVM on a busy machine compiles the consumer, joins its group and reads.
const JAVA_WITHIN: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e5_a_rebuild_goes_on_with_the_numbers() -> Result<()> {
    let (world, topic) = publishing("REBUILT", 60).await?;
    topic.create(3, &[]).await?;
    let services = Services::start(&world).await?;
    ask(&world, &services.api, "REBUILT", "early", 10).await?;
    world.stock.flush().await?;
    eventually("the campaign is suspect", SOON, async || -> Result<bool> {
        world.member(&services.api, "late")?.ask("REBUILT").await;
        Ok(crate::rebuild::status(&world, "REBUILT").await? == "SUSPECT")
    })
    .await?;
    let words = ["rebuild", "REBUILT", "--yes", "--by", "olga"];
    world.run("dlq-consumer", &words).await?.succeeded()?;
    ask(&world, &services.api, "REBUILT", "late", 10).await?;
    world.quiet(SOON, &[]).await?;
    let events = topic.read().await?;
    let epochs: BTreeMap<i64, &str> =
        events.iter().filter_map(|event| Some((number(event), event.header("ce_epoch")?))).collect();
    assert_eq!((epochs.len(), epochs[&10], epochs[&11]), (20, "1", "2"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e6_a_range_of_decisions_is_published_again_with_the_same_ids_and_no_other() -> Result<()> {
    let (world, topic) = publishing("AGAIN", 60).await?;
    topic.create(3, &[]).await?;
    let services = Services::start(&world).await?;
    ask(&world, &services.api, "AGAIN", "member", 20).await?;
    replay::given_up(&world, &services.api, "AGAIN", &["unlucky"]).await?;
    world.quiet(SOON, &[]).await?;
    let again = async |from: &str, to: &str| {
        let words = ["decisions", "replay", "--coupon", "AGAIN", "--from", from, "--to", to, "--by", "olga"];
        world.run("dlq-consumer", &words).await
    };
    let before = topic.read().await?;
    again("5", "21").await?.succeeded()?;
    let after = topic.read().await?;
    assert_eq!(after.len(), before.len() + 17);
    let mut told: BTreeMap<i64, Vec<&Record>> = BTreeMap::new();
    for event in &after {
        told.entry(number(event)).or_default().push(event);
    }
    for (number, events) in told {
        assert_eq!(events.len(), if number < 5 { 1 } else { 2 }, "{number}");
        ensure!(events.iter().all(|event| (&event.key, &event.value, &event.headers)
            == (&events[0].key, &events[0].value, &events[0].headers)));
    }
    let audited: i64 =
        sqlx::query_scalar("SELECT count(*) FROM operator_audit WHERE verb = 'decisions.replay' AND actor = 'olga'")
            .fetch_one(&world.db)
            .await?;
    assert_eq!(audited, 1);

    let beyond = again("20", "22").await?;
    ensure!(beyond.code == Some(1) && beyond.stderr.contains("no decision after number 21 yet"), "{beyond:?}");
    let backwards = again("7", "6").await?;
    ensure!(backwards.code == Some(1) && backwards.stderr.contains("--from 7 is after --to 6"), "{backwards:?}");
    let words =
        ["decisions", "replay", "--coupon", "AGAIN", "--from", "1", "--to", "2", "--topic", "nowhere", "--by", "olga"];
    let nowhere = world.run("dlq-consumer", &words).await?;
    ensure!(nowhere.code == Some(1) && nowhere.stderr.contains("`nowhere` does not exist"), "{nowhere:?}");
    assert_eq!(topic.read().await?.len(), after.len(), "what is refused publishes nothing");
    world.quiet(SOON, &[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_numbers_go_when_they_are_old_and_published_and_decisions_stay() -> Result<()> {
    let (world, topic) = publishing("OLD", 60).await?;
    topic.create(3, &[]).await?;
    let services = Services::start(&world).await?;
    ask(&world, &services.api, "OLD", "old", 10).await?;
    world.quiet(SOON, &[]).await?;
    for statement in [
        "UPDATE coupon_decision_batches SET decided_at = decided_at - interval '40 days'",
        "UPDATE coupon_issues SET decided_at = decided_at - interval '40 days'",
    ] {
        sqlx::raw_sql(statement).execute(&world.db).await?;
    }
    ask(&world, &services.api, "OLD", "young", 5).await?;
    world.quiet(SOON, &[]).await?;
    let kept = async || -> Result<Option<i64>> {
        Ok(sqlx::query_scalar("SELECT min(first_no) FROM coupon_decision_batches").fetch_one(&world.db).await?)
    };
    // Only of a time of which every decision is numbered.
    world.run("dlq-consumer", &["reconcile", "OLD"]).await?.succeeded()?;
    world.run("dlq-consumer", &["purge", "--yes", "--by", "olga"]).await?.succeeded()?;
    assert_eq!(kept().await?, Some(11));

    let again = async |from: &str| {
        let words = ["decisions", "replay", "--coupon", "OLD", "--from", from, "--to", "15", "--by", "olga"];
        world.run("dlq-consumer", &words).await
    };
    let refused = again("10").await?;
    let said = "decision 10 of OLD cannot be published again: numbers before 11 were purged";
    ensure!(refused.code == Some(1) && refused.stderr.contains(said), "{refused:?}");
    again("11").await?.succeeded()?;
    // The numbers go on, and reconciling finds nothing to number.
    ask(&world, &services.api, "OLD", "new", 5).await?;
    world.run("dlq-consumer", &["reconcile", "OLD"]).await?.succeeded()?;
    let numbers: (i64, i64) = sqlx::query_as("SELECT decision_no, (SELECT count(*) FROM coupon_issues) FROM coupons")
        .fetch_one(&world.db)
        .await?;
    assert_eq!(numbers, (20, 20));
    world.quiet(SOON, &[]).await?;
    Ok(())
}

/// What a consumer keeps of a campaign: it takes each id once, and knows what it lacks.
#[derive(Default)]
struct Ledger {
    by_number: BTreeMap<i64, (Uuid, String)>,
}

impl Ledger {
    fn take(&mut self, event: &Record) -> Result<()> {
        let id: Uuid = event.header("ce_id").context("an id")?.parse()?;
        let kind = event.header("ce_type").context("a type")?.to_owned();
        let first = self.by_number.entry(number(event)).or_insert((id, kind.clone()));
        ensure!(*first == (id, kind), "number {} is given twice", number(event));
        Ok(())
    }

    /// The number up to which it has everything.
    fn complete_to(&self) -> i64 {
        self.by_number.keys().zip(1..).take_while(|(number, place)| *number == place).count().try_into().unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_a_consumer_that_begins_with_the_first_number_proves_that_it_has_all() -> Result<()> {
    let (world, topic) = publishing("PROVEN", 200).await?;
    let services = Services::start(&world).await?;
    // What a build before the numbers has decided, as its statement does it.
    sqlx::raw_sql(
        "WITH issued AS (
             INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
             SELECT coupon_id, gen_random_uuid(), 'older-' || n, 'ISSUED', 1, 0, now(), now() + interval '1 day'
             FROM coupons, generate_series(1, 7) AS n RETURNING 1)
         UPDATE coupons SET issued_quantity = issued_quantity + (SELECT count(*) FROM issued)",
    )
    .execute(&world.db)
    .await?;
    ask(&world, &services.api, "PROVEN", "member", 20).await?;
    replay::given_up(&world, &services.api, "PROVEN", &["unlucky", "unhappy"]).await?;
    topic.create(5, &[]).await?;
    // They have no holder entries, which is not what this is about.
    world.run("dlq-consumer", &["reconcile", "PROVEN", "--apply", "--by", "olga"]).await?.succeeded()?;
    ask(&world, &services.api, "PROVEN", "more", 20).await?;
    world.quiet(SOON, &[Kind::IssuedFromNothing]).await?;

    let mut ledger = Ledger::default();
    for event in topic.read().await? {
        ledger.take(&event)?;
    }
    let decided: Vec<(Uuid, String)> =
        sqlx::query_as("SELECT request_id, decision FROM coupon_issues").fetch_all(&world.db).await?;
    assert_eq!((ledger.complete_to(), decided.len()), (49, 49));
    let told: BTreeMap<Uuid, &str> = ledger.by_number.values().map(|(id, kind)| (*id, kind.as_str())).collect();
    for (id, decision) in decided {
        let kind = format!("coupon.issue.{}.v1", decision.to_lowercase());
        assert_eq!(told.get(&id), Some(&kind.as_str()), "{id}");
    }
    // So does the consumer that the README shows, which never ends.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/decisions/Consumer.java");
    let environment = world.environment();
    let (_, brokers) = environment.iter().find(|(name, _)| *name == "KAFKA_BROKERS").context("brokers")?;
    let folder = world.folder().join("kept").display().to_string();
    let _consumer = brokers::start_java(&source, &[brokers, topic.name(), &folder])?;
    eventually("the consumer in Java has kept each", JAVA_WITHIN, async || {
        let kept = |number: &i64| fs::read_to_string(format!("{folder}/coupons/PROVEN/{number}")).unwrap_or_default();
        let is_kept = |(number, (id, kind)): (&i64, &(Uuid, String))| {
            kept(number).strip_prefix(kind.as_str()).is_some_and(|value| value.contains(&id.to_string()))
        };
        ledger.by_number.iter().all(is_kept)
    })
    .await?;
    assert_eq!(fs::read_dir(format!("{folder}/coupons/PROVEN"))?.count(), 49, "and nothing else");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_an_event_that_is_missing_wrong_or_late() -> Result<()> {
    let (world, topic) = publishing("JUDGED", 20).await?;
    // One partition: the order of all is the order of the numbers.
    topic.create(1, &[]).await?;
    let services = Services::start(&world).await?;
    ask(&world, &services.api, "JUDGED", "member", 6).await?;
    world.quiet(SOON, &[]).await?;
    let whole = world.sources().collect(None).await?;
    let judged = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut evidence = whole.clone();
        change(evidence.events.get_or_insert_default());
        verdict(&evidence).kinds()
    };
    assert_eq!(judged(&|events| events.extend(events.clone())), [], "what comes once more is no harm");
    assert_eq!(judged(&|events| drop(events.remove(2))), [Kind::EventMissing]);
    assert_eq!(judged(&|events| events.swap(1, 3)), [Kind::EventOutOfOrder]);
    assert_eq!(judged(&|events| events[4].value = Some(b"{}".to_vec())), [Kind::EventWrong]);
    let issued_as_compensated = |events: &mut Vec<Record>| {
        for (name, value) in &mut events[0].headers {
            if name == "ce_type" {
                *value = Some(b"coupon.issue.compensated.v1".to_vec());
            }
        }
    };
    assert_eq!(judged(&issued_as_compensated), [Kind::EventWrong]);
    Ok(())
}
