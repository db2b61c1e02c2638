//! Tests of the oracle: it finds no violation in a healthy campaign, and in each damaged campaign exactly the one that was
//! planted there.

use anyhow::{Context, Result, bail};
use coupon_e2e::{
    answers::State,
    kafka::record::{Event, NewRecord, Record},
    oracle::{Kind, verdict},
    world::World,
};
use serde_json::Value;
use uuid::Uuid;

use crate::planted::{COMMITTED, Planted, UNCOMMITTED, labelled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_violation_is_found_where_it_is_planted() -> Result<()> {
    let world = World::new().await?;
    // What the database itself forbids has to be allowed before it can be planted.
    sqlx::raw_sql(
        "ALTER TABLE coupons DROP CONSTRAINT coupons_issued_within_total; DROP INDEX coupon_issues_one_each;",
    )
    .execute(&world.db)
    .await?;
    Planted::healthy(&world, "HEALTHY").await?;
    let codes = plant_everything(&world).await?;
    world.topic.commit(&world.group_of("issue-consumer"), COMMITTED, 1_000).await?;
    let all = world.sources().collect(None).await?;

    let healthy = verdict(&all.of(&["HEALTHY"]));
    healthy.must_hold()?;
    assert_eq!(
        healthy.to_string(),
        "verdict: accepted=3 refused=1 issued=2 compensated=1 stock=1 lost=0 oversold=0 duplicates=0"
    );
    for (code, kind) in codes {
        let found = verdict(&all.of(&[code, "OTHER"]));
        assert_eq!(found.kinds(), [kind], "{code}: {:?}", found.violations);
        let counted = (found.lost > 0, found.oversold > 0, found.duplicates > 0);
        let expected = (
            matches!(kind, Kind::Lost | Kind::EventUndecided | Kind::FailureUnrecorded),
            kind == Kind::Oversold,
            matches!(kind, Kind::IssuedTwice | Kind::AcceptedTwice),
        );
        assert_eq!(counted, expected, "{code}");
    }
    Ok(())
}

async fn plant_everything(world: &World) -> Result<Vec<(&'static str, Kind)>> {
    // Needed by DECIDED-TWICE only, and healthy in itself.
    let other = Planted::healthy(world, "OTHER").await?;
    let mut planted = Vec::new();
    for (code, kind) in KINDS {
        let campaign = Planted::healthy(world, code).await?;
        campaign.plant(*kind, &other).await.context(*code)?;
        planted.push((*code, *kind));
    }
    Ok(planted)
}

const KINDS: &[(&str, Kind)] = &[
    ("OVERSOLD", Kind::Oversold),
    ("COUNTER-WRONG", Kind::CounterWrong),
    ("ISSUED-TWICE", Kind::IssuedTwice),
    ("ACCEPTED-TWICE", Kind::AcceptedTwice),
    ("LOST", Kind::Lost),
    ("EVENT-UNDECIDED", Kind::EventUndecided),
    ("ISSUED-FROM-NOTHING", Kind::IssuedFromNothing),
    ("FAILURE-UNRECORDED", Kind::FailureUnrecorded),
    ("FAILURE-UNFOUNDED", Kind::FailureUnfounded),
    ("OUTBOX-LEFT", Kind::OutboxLeft),
    ("HOLDER-WITHOUT-ROW", Kind::HolderWithoutRow),
    ("ROW-WITHOUT-HOLDER", Kind::RowWithoutHolder),
    ("TOTALS-DIFFER", Kind::TotalsDiffer),
    ("DECIDED-TWICE", Kind::DecidedTwice),
    ("ANSWER-CONTRADICTED", Kind::AnswerContradicted),
    ("GIVE-BACK-OPEN", Kind::GiveBackOpen),
    ("GIVE-BACK-UNDONE", Kind::GiveBackUndone),
    ("OFFSET-AHEAD", Kind::OffsetAhead),
    ("DEAD-LETTER-UNHEARD", Kind::DeadLetterUnheard),
    ("DEAD-LETTER-UNLABELLED", Kind::DeadLetterUnlabelled),
    ("DEAD-LETTER-CHANGED", Kind::DeadLetterChanged),
];

impl Planted<'_> {
    async fn plant(&self, kind: Kind, other: &Planted<'_>) -> Result<()> {
        let (db, stock) = (&self.world.db, &self.world.stock);
        match kind {
            Kind::Oversold => {
                stock.set_meta(self.code, &[("total", "1")]).await?;
                self.change("UPDATE coupons SET total_quantity = 1 WHERE coupon_id = $1").await?;
            }
            Kind::CounterWrong => self.change("UPDATE coupons SET issued_quantity = 1 WHERE coupon_id = $1").await?,
            Kind::IssuedTwice => {
                let again = Event::of(self.code, "a", 4);
                self.world.topic.write(&NewRecord::event(&again).in_partition(COMMITTED)).await?;
                self.issue_row("a", again.request_id).await?;
                self.change("UPDATE coupons SET issued_quantity = 3 WHERE coupon_id = $1").await?;
            }
            Kind::AcceptedTwice => {
                let again = Uuid::now_v7();
                self.answer("a", Some(again), State::Accepted);
                self.dead_letter(999, Some(again), "HELD").await?;
            }
            Kind::Lost => self.answer("e", Some(Uuid::now_v7()), State::Reserved),
            Kind::EventUndecided => drop(self.write_event("e", UNCOMMITTED).await?),
            Kind::OffsetAhead => drop(self.write_event("e", COMMITTED).await?),
            Kind::IssuedFromNothing => {
                self.issue("e", Uuid::now_v7()).await?;
                self.change("UPDATE coupons SET issued_quantity = 3 WHERE coupon_id = $1").await?;
            }
            Kind::FailureUnrecorded => {
                sqlx::query("DELETE FROM failed_coupon_issues WHERE request_id = $1").bind(self.c).execute(db).await?;
            }
            Kind::FailureUnfounded => self.failure(Uuid::now_v7()).await?,
            Kind::OutboxLeft => stock.set_outbox(self.code, &format!("{}|1|e", Uuid::now_v7())).await?,
            Kind::HolderWithoutRow => stock.set_holder(self.code, "e", Some(Uuid::now_v7())).await?,
            Kind::RowWithoutHolder => stock.set_holder(self.code, "a", None).await?,
            Kind::TotalsDiffer => stock.set_meta(self.code, &[("total", "7")]).await?,
            Kind::DecidedTwice => self.compensate_row(other.c).await?,
            Kind::AnswerContradicted => self.answer("a", Some(self.a), State::Compensated),
            Kind::GiveBackOpen => {
                self.change("UPDATE coupon_issues SET given_back_at = NULL WHERE coupon_id = $1").await?;
            }
            Kind::GiveBackUndone => stock.set_holder(self.code, "c", Some(self.c)).await?,
            Kind::DeadLetterUnheard => {
                let (event, place) = self.write_event("e", UNCOMMITTED).await?;
                self.world.dlq.write(&labelled(event, place)).await?;
            }
            Kind::DeadLetterUnlabelled => {
                let bare = NewRecord { headers: Vec::new(), ..self.letter_of_c.clone() };
                self.world.dlq.write(&bare).await?;
            }
            Kind::DeadLetterChanged => {
                let value: Value = serde_json::from_slice(self.letter_of_c.value.as_deref().context("a value")?)?;
                let pretty = Some(serde_json::to_vec_pretty(&value)?);
                self.world.dlq.write(&NewRecord { value: pretty, ..self.letter_of_c.clone() }).await?;
            }
            Kind::EventMissing | Kind::EventWrong | Kind::EventOutOfOrder => {
                bail!(
                    "planted by the_oracle_sees_an_event_that_is_missing_wrong_or_late, where decisions are published"
                )
            }
        }
        Ok(())
    }
}

#[test]
fn an_event_is_read_by_the_contracts_field_names_only() {
    let event = Event::of("C", "m", 7);
    let record = |version| Record {
        partition: 0,
        offset: 0,
        key: None,
        value: Some(event.to_json(version).to_string().into_bytes()),
        headers: Vec::new(),
        timestamp_ms: None,
    };
    assert_eq!(record(1).event(), Some(event.clone()));
    assert_eq!(record(2).event(), None);
}
