//! A healthy campaign that tests write into the stores of a world, for tests of the oracle.

use anyhow::{Result, ensure};
use chrono::Utc;
use coupon_e2e::{
    answers::{Answer, State},
    kafka::record::{Event, NewRecord},
    world::World,
};
use serde_json::Value;
use uuid::Uuid;

/// Records without a committed offset go here; those of [`COMMITTED`] lie below one.
pub const UNCOMMITTED: i32 = 1;
pub const COMMITTED: i32 = 0;

/// A campaign of three coupons: `a` and `b` have one, `c` had one that was compensated, `d` was refused.
pub struct Planted<'w> {
    pub world: &'w World,
    pub code: &'static str,
    coupon_id: i64,
    pub a: Uuid,
    pub c: Uuid,
    pub letter_of_c: NewRecord,
}

impl<'w> Planted<'w> {
    pub async fn healthy(world: &'w World, code: &'static str) -> Result<Self> {
        let coupon_id = sqlx::query_scalar(
            "INSERT INTO coupons (coupon_code, status, total_quantity, issued_quantity, opens_at)
             VALUES ($1, 'OPEN', 3, 2, now()) RETURNING coupon_id",
        )
        .bind(code)
        .fetch_one(&world.db)
        .await?;
        let nothing = NewRecord::default();
        let mut planted = Self { world, code, coupon_id, a: Uuid::nil(), c: Uuid::nil(), letter_of_c: nothing };
        world.stock.set_meta(code, &[("status", "OPEN"), ("total", "3")]).await?;
        for (seq, member) in (1..).zip(["a", "b", "c"]) {
            let event = Event::of(code, member, seq);
            let record = NewRecord::event(&event).in_partition(COMMITTED);
            let place =
                world.topic.write(&NewRecord { timestamp_ms: Some(event.reserved_at), ..record.clone() }).await?;
            planted.answer(member, Some(event.request_id), State::Accepted);
            if member == "c" {
                planted.c = event.request_id;
                planted.letter_of_c = NewRecord { timestamp_ms: Some(event.reserved_at), ..labelled(record, place) };
                planted.given_up().await?;
                continue;
            }
            if member == "a" {
                planted.a = event.request_id;
            }
            planted.issue(member, event.request_id).await?;
        }
        planted.answer("d", None, None);
        Ok(planted)
    }

    pub async fn issue(&self, member: &str, id: Uuid) -> Result<()> {
        self.world.stock.set_holder(self.code, member, Some(id)).await?;
        self.issue_row(member, id).await
    }

    pub async fn issue_row(&self, member: &str, id: Uuid) -> Result<()> {
        sqlx::query(
            "INSERT INTO coupon_issues (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, expires_at)
             VALUES ($1, $2, $3, 'ISSUED', 1, 1, now(), now() + interval '30 days')",
        )
        .bind(self.coupon_id)
        .bind(id)
        .bind(member)
        .execute(&self.world.db)
        .await?;
        Ok(())
    }

    /// Writes what a compensated request leaves: decision, work list, dead letter and its row.
    async fn given_up(&self) -> Result<()> {
        self.compensate_row(self.c).await?;
        self.failure(self.c).await?;
        let (partition, offset) = self.world.dlq.write(&self.letter_of_c).await?;
        ensure!(partition == COMMITTED);
        self.dead_letter(offset, Some(self.c), "COMPENSATED").await
    }

    pub async fn compensate_row(&self, id: Uuid) -> Result<()> {
        sqlx::query(
            "INSERT INTO coupon_issues
                    (coupon_id, request_id, member_id, decision, epoch, seq, reserved_at, given_back_at)
             VALUES ($1, $2, 'c', 'COMPENSATED', 1, 1, now(), now())",
        )
        .bind(self.coupon_id)
        .bind(id)
        .execute(&self.world.db)
        .await?;
        Ok(())
    }

    pub async fn failure(&self, id: Uuid) -> Result<()> {
        sqlx::query(
            "INSERT INTO failed_coupon_issues (coupon_code, member_id, request_id, status, error_class, error_code, reason)
             VALUES ($1, 'c', $2, 'PENDING', 'UNKNOWN', 'P0001', 'planted')",
        )
        .bind(self.code)
        .bind(id)
        .execute(&self.world.db)
        .await?;
        Ok(())
    }

    pub async fn dead_letter(&self, offset: i64, id: Option<Uuid>, status: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO dlq_events (dlq_topic, dlq_partition, dlq_offset, dlq_timestamp_ms, original_event_type,
                    original_event_id, coupon_code, headers, error_class, error_code, cause, error_message,
                    stack_trace, attempts, status, alarm_sent)
             VALUES ($1, $2, $3, 0, 'COUPON_ISSUED', $4, $5, '[]', 'UNKNOWN', 'P0001', '', '', '', 3, $6, true)",
        )
        .bind(self.world.dlq.name())
        .bind(COMMITTED)
        .bind(offset)
        .bind(id)
        .bind(self.code)
        .bind(status)
        .execute(&self.world.db)
        .await?;
        Ok(())
    }

    pub async fn write_event(&self, member: &str, partition: i32) -> Result<(NewRecord, (i32, i64))> {
        let event = Event::of(self.code, member, 9);
        let record = NewRecord::event(&event).in_partition(partition);
        let record = NewRecord { timestamp_ms: Some(event.reserved_at), ..record };
        let place = self.world.topic.write(&record).await?;
        Ok((record, place))
    }

    pub async fn change(&self, statement: &'static str) -> Result<()> {
        sqlx::query(statement).bind(self.coupon_id).execute(&self.world.db).await?;
        Ok(())
    }

    pub fn answer(&self, member: &str, id: Option<Uuid>, state: impl Into<Option<State>>) {
        self.world.answers.write(Answer {
            at: Utc::now(),
            took: std::time::Duration::ZERO,
            member: member.to_owned(),
            coupon: self.code.to_owned(),
            question: coupon_e2e::answers::Question::Coupon,
            status: Some(if id.is_some() { 202 } else { 409 }),
            request_id: id,
            state: state.into(),
            code: None,
            retry_after: None,
            location: None,
            content_type: None,
            body: Value::Null,
            no_answer: None,
        });
    }
}

/// The record as a dead letter that names its origin.
pub fn labelled(record: NewRecord, (partition, offset): (i32, i64)) -> NewRecord {
    let text = |name: &str, value: String| (name.to_owned(), Some(value.into_bytes()));
    let headers = vec![
        text("__dlq.errors.topic", "planted".to_owned()),
        text("__dlq.errors.partition", partition.to_string()),
        text("__dlq.errors.offset", offset.to_string()),
    ];
    NewRecord { headers, partition: Some(COMMITTED), ..record }
}
