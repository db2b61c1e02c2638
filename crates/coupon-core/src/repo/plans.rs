//! Plans: what a change of many rows would hit, as it was shown to who asked: the table `plans`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use super::{
    PlanRepository, RepoError,
    audit::{Actor, append_audit},
    jobs::{self, NewServiceJob},
    replay_jobs::{self, NewJob},
};

/// A plan.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct PlanRow {
    /// Number.
    pub plan_id: i64,
    /// What would be done.
    pub verb: String,
    /// What it would be done to and how, as the job takes it.
    pub parameters: Value,
    /// What it hits, in words.
    pub predicate: String,
    /// No row with a higher number; `None`: it is about no rows.
    pub up_to_id: Option<i64>,
    /// Rows that would change; `None`: it is about no rows.
    pub eligible: Option<i64>,
    /// Rows that would not, by reason.
    pub refused: Json<BTreeMap<String, i64>>,
    /// Whether only a part of the rows was counted.
    pub at_least: bool,
    /// Up to ten of the rows, as shown.
    pub sample: Value,
    /// Word that has to be typed to confirm it.
    pub typed: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it can be confirmed no more.
    pub expires_at: DateTime<Utc>,
    /// Whether two persons have to confirm it.
    pub needs_second: bool,
    /// Who confirmed it first, where two have to.
    pub first_by: Option<String>,
    /// Why, in the words of who confirmed it; empty before.
    pub reason: String,
    /// Who confirmed it last.
    pub confirmed_by: Option<String>,
    /// When it was confirmed.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Number of the job it has become.
    pub job_id: Option<i64>,
}

/// A plan to be kept.
#[derive(Clone, Debug)]
pub struct NewPlan {
    /// What would be done.
    pub verb: String,
    /// What it would be done to and how.
    pub parameters: Value,
    /// What it hits, in words.
    pub predicate: String,
    /// No row with a higher number.
    pub up_to_id: Option<i64>,
    /// Rows that would change.
    pub eligible: Option<i64>,
    /// Rows that would not, by reason.
    pub refused: BTreeMap<String, i64>,
    /// Whether only a part of the rows was counted.
    pub at_least: bool,
    /// Up to ten of the rows.
    pub sample: Value,
    /// Word that has to be typed to confirm it.
    pub typed: Option<String>,
    /// Whether two persons have to confirm it.
    pub needs_second: bool,
    /// From when on it can be confirmed no more.
    pub expires_at: DateTime<Utc>,
}

/// The job that a plan becomes.
#[derive(Clone, Debug)]
pub enum NewPlanJob {
    /// A replay.
    Replay(Box<NewJob>),
    /// Another job.
    Service(NewServiceJob),
}

/// The outcome of a confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// The plan has become the job of this number.
    Job(i64),
    /// It is kept; somebody else has to confirm the plan too.
    AwaitsSecond,
    /// There is no such plan.
    Unknown,
    /// The plan is too old.
    Expired,
    /// Somebody has confirmed it before: who, when, and the number of its job.
    Before(String, DateTime<Utc>, Option<i64>),
    /// The same person has confirmed it first.
    SamePerson,
    /// Both who confirm it may be one person.
    OnePerson {
        /// Who confirmed it first.
        first: String,
        /// Who has seen the tokens of both, or that of one and is the other.
        by: String,
    },
}

/// Who has seen the tokens of both $1 and $2, first the one nearest to them. Whoever adds an operator in the console sees the
/// token; whoever does so by command line could change every row without one, so such an operator is nobody's.
const SEEN_BY: &str = "
    WITH RECURSIVE knows AS (
        SELECT operator, operator AS name, 0 AS steps FROM unnest(ARRAY[$1, $2]) AS operator
        UNION ALL
        SELECT k.operator, o.created_by, k.steps + 1 FROM knows k JOIN operators o ON o.name = k.name
        WHERE k.steps < 100 AND NOT EXISTS (
            SELECT FROM operator_audit a
            WHERE a.subject = 'operators/' || o.name AND a.verb = 'operator.add'
              AND a.provenance ->> 'login' = 'COMMAND_LINE')
    )
    SELECT one.name FROM knows one JOIN knows other ON other.name = one.name AND other.operator = $2
    WHERE one.operator = $1 ORDER BY one.steps + other.steps LIMIT 1";

impl PlanRepository<'_> {
    /// Keeps a plan. Returns its number.
    pub async fn create(self, new: NewPlan, actor: Actor) -> Result<i64, RepoError> {
        self.write("keep a plan", move |pool| async move {
            sqlx::query_scalar(
                "INSERT INTO plans (verb, parameters, predicate, up_to_id, eligible, refused, sample, typed,
                                    needs_second, created_by, created_at, expires_at, at_least)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING plan_id",
            )
            .bind(new.verb)
            .bind(new.parameters)
            .bind(new.predicate)
            .bind(new.up_to_id)
            .bind(new.eligible)
            .bind(Json(new.refused))
            .bind(new.sample)
            .bind(new.typed)
            .bind(new.needs_second)
            .bind(actor.by.name)
            .bind(actor.now)
            .bind(new.expires_at)
            .bind(new.at_least)
            .fetch_one(&pool)
            .await
        })
        .await
    }

    /// Returns a plan.
    pub async fn find(self, plan_id: i64) -> Result<Option<PlanRow>, RepoError> {
        let select = sqlx::query_as("SELECT * FROM plans WHERE plan_id = $1").bind(plan_id);
        self.read("read a plan", select.fetch_optional(&self.pool())).await
    }

    /// Confirms a plan, which becomes `job` in the name of the actor: its state is checked, the job created and the audit
    /// written in one transaction, so that of two operators who confirm it one makes a job. The first confirmation of a plan
    /// that needs two is kept, and leaves time for the second until `renewed`; the second is refused while somebody has seen the
    /// tokens of both operators.
    pub async fn confirm(
        self,
        plan_id: i64,
        job: NewPlanJob,
        renewed: DateTime<Utc>,
        actor: Actor,
    ) -> Result<Confirmation, RepoError> {
        self.write("confirm a plan", move |pool| async move {
            let mut tx = pool.begin().await?;
            let select = sqlx::query_as("SELECT * FROM plans WHERE plan_id = $1 FOR UPDATE").bind(plan_id);
            let plan: Option<PlanRow> = select.fetch_optional(&mut *tx).await?;
            let Some(plan) = plan else { return Ok(Confirmation::Unknown) };
            if let (Some(by), Some(at)) = (plan.confirmed_by, plan.confirmed_at) {
                return Ok(Confirmation::Before(by, at, plan.job_id));
            }
            if plan.expires_at <= actor.now {
                return Ok(Confirmation::Expired);
            }
            let reason = match &job {
                NewPlanJob::Replay(new) => &new.reason,
                NewPlanJob::Service(new) => &new.reason,
            };
            let subject = format!("plans/{plan_id}");
            match plan.first_by {
                None if plan.needs_second => {
                    let update = "UPDATE plans SET first_by = $2, reason = $3, expires_at = $4 WHERE plan_id = $1";
                    let update = sqlx::query(update).bind(plan_id).bind(&actor.by.name).bind(reason).bind(renewed);
                    update.execute(&mut *tx).await?;
                    let change = serde_json::json!({ "asked": plan.verb, "awaits": "a second person" });
                    append_audit(&mut tx, &actor, "plan", &subject, change, reason).await?;
                    tx.commit().await?;
                    return Ok(Confirmation::AwaitsSecond);
                }
                Some(first) if first == actor.by.name => return Ok(Confirmation::SamePerson),
                Some(first) => {
                    let seen_by = sqlx::query_scalar(SEEN_BY).bind(&first).bind(&actor.by.name);
                    if let Some(by) = seen_by.fetch_optional(&mut *tx).await? {
                        return Ok(Confirmation::OnePerson { first, by });
                    }
                }
                None => {}
            }
            let job_id = match &job {
                NewPlanJob::Replay(new) => replay_jobs::insert(&mut tx, new, &actor).await?,
                NewPlanJob::Service(new) => jobs::insert(&mut tx, new, &actor).await?,
            };
            let both = if plan.reason.is_empty() { reason.clone() } else { format!("{}; {reason}", plan.reason) };
            sqlx::query(
                "UPDATE plans SET confirmed_by = $2, confirmed_at = $3, reason = $4, job_id = $5 WHERE plan_id = $1",
            )
            .bind(plan_id)
            .bind(&actor.by.name)
            .bind(actor.now)
            .bind(both)
            .bind(job_id)
            .execute(&mut *tx)
            .await?;
            tx.commit().await?;
            Ok(Confirmation::Job(job_id))
        })
        .await
    }
}
